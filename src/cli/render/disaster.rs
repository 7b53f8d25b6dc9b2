//! What a loss would leave, as text: the worst first, then what to do.

use std::fmt::Write as _;
use std::time::Duration;

use super::text::{self, Page, Style, Tone, columns, count, escape, pad};
use crate::model::{ByteSize, Name, Topology};
use crate::plan::disaster::{CopyLeft, Disaster, Fate, RecoveryStep, SourceFate};

/// Returns a disaster as text; `rate` is how many bytes a second a restore is taken to make.
pub fn render_disaster(
    disaster: &Disaster,
    topology: &Topology,
    rate: ByteSize,
    style: &Style,
) -> String {
    let mut page = Page::new(style);
    page.hanging("", 0, &header(disaster, topology), Some(Tone::Heading));
    page.gap();
    sources(&mut page, disaster, style);
    circles(&mut page, disaster, style);
    if !disaster.steps.is_empty() {
        page.heading("To be whole again");
        for (number, step) in disaster.steps.iter().enumerate() {
            let lead = format!("  {:>2}. ", number + 1);
            page.hanging(
                &lead,
                columns(&lead),
                &escape(&step_words(step, topology)),
                None,
            );
        }
    }
    page.gap();
    page.hanging("", 0, &time(disaster, rate), None);
    if !disaster.jobs.is_empty() {
        let jobs = format!("Can't run until then: {}.", names(&disaster.jobs));
        page.hanging("", 0, &jobs, None);
    }
    page.finish()
}

fn header(disaster: &Disaster, topology: &Topology) -> String {
    let mut gone = vec![format!(
        "{} of {}",
        disaster.nodes.len(),
        count(topology.nodes.len(), "node", "nodes")
    )];
    gone.push(format!(
        "{} of {}",
        disaster.datastores.len(),
        count(topology.datastores.len(), "datastore", "datastores")
    ));
    let mut text = format!(
        "If {} is lost: {}",
        escape(&disaster.lost.to_string()),
        gone.join(" and ")
    );
    if !disaster.datastores.is_empty() {
        let _ = write!(text, " ({})", names(&disaster.datastores));
    }
    if !disaster.as_seen {
        text.push_str(", taking every copy for made that a job makes");
    }
    text
}

fn sources(page: &mut Page<'_>, disaster: &Disaster, style: &Style) {
    let words = |fate: Fate| match fate {
        Fate::Gone => ("✗", Tone::Bad, "gone for good"),
        Fate::Locked => ("✗", Tone::Bad, "locked"),
        Fate::ToRestore => ("!", Tone::Caution, "to restore"),
        Fate::Unprotected => ("!", Tone::Caution, "without a copy"),
        Fate::Weakened => ("·", Tone::Quiet, "fewer copies"),
        Fate::Untouched => ("✓", Tone::Good, "untouched"),
    };
    // Those that share a fate and the copies that are left share a line.
    let mut groups: Vec<(&SourceFate, Vec<Name>)> = Vec::new();
    for source in &disaster.sources {
        let like = |(first, _): &&mut (&SourceFate, Vec<Name>)| {
            (first.fate, &first.left) == (source.fate, &source.left)
        };
        match groups.iter_mut().find(like) {
            Some((_, group)) => group.push(source.source.clone()),
            None => groups.push((source, vec![source.source.clone()])),
        }
    }
    for (first, group) in groups {
        let (mark, tone, word) = words(first.fate);
        let lead = format!("  {} {}  ", style.paint(tone, mark), pad(word, 14));
        let left: Vec<String> = first.left.iter().map(copy).collect();
        let left = match first.fate {
            Fate::Gone => "no copy is left".to_owned(),
            Fate::Locked => format!("nobody can read what is left: {}", left.join(", ")),
            Fate::Unprotected => "its data is there, and no copy".to_owned(),
            _ if left.is_empty() => "no job copies it anywhere".to_owned(),
            _ => left.join(", "),
        };
        page.hanging(&lead, 20, &format!("{} · {left}", names(&group)), None);
    }
}

/// Says what a restore would wait for in vain, or that there is no such thing.
fn circles(page: &mut Page<'_>, disaster: &Disaster, style: &Style) {
    let bad = format!("  {} ", style.paint(Tone::Bad, "✗"));
    let caution = format!("  {} ", style.paint(Tone::Caution, "⚠"));
    let good = format!("  {} ", style.paint(Tone::Good, "✓"));
    let is = |source: &Name, fate: Fate| {
        let mut sources = disaster.sources.iter();
        sources.any(|other| other.source == *source && other.fate == fate)
    };
    let restores = disaster.sources.iter().any(|s| s.fate == Fate::ToRestore);
    if disaster.cycles.is_empty() && restores {
        page.gap();
        page.hanging(&good, 4, "No restore needs what is lost.", None);
    }
    for cycle in &disaster.cycles {
        page.gap();
        let is_locked = cycle.sources.iter().any(|source| is(source, Fate::Locked));
        let mark = if is_locked { &bad } else { &caution };
        page.hanging(mark, 4, &escape(&cycle.words), None);
        page.hanging("    ", 4, &format!("→ {}", escape(&cycle.fix)), None);
    }
    if !disaster.lost_keys.is_empty() {
        page.gap();
        let words = format!(
            "No snapshot that is sealed for {} can be read any more: the key's file is lost, and no recovery sheet was confirmed",
            names(&disaster.lost_keys)
        );
        page.hanging(&bad, 4, &words, None);
    }
}

fn copy(copy: &CopyLeft) -> String {
    let mut text = copy.datastore.to_string();
    if let Some(node) = &copy.node {
        let _ = write!(text, " on {node}");
    }
    if let Some(age) = copy.age {
        let _ = write!(text, " ({age})");
    }
    text
}

fn step_words(step: &RecoveryStep, topology: &Topology) -> String {
    let size = |bytes: &Option<ByteSize>| match bytes {
        Some(bytes) => format!(", {bytes}"),
        None => String::new(),
    };
    match step {
        RecoveryStep::RecoverKey(key) => {
            format!("get the key {key} back from its recovery sheet: bkpctl key recover")
        }
        RecoveryStep::ReplaceNode(node) if topology.is_local(node.as_str()) => {
            format!(
                "replace {node}, the machine that bkpctl runs on, with a clone of this topology"
            )
        }
        RecoveryStep::ReplaceNode(node) => {
            format!("replace {node}, reached under the same name, with its new host key")
        }
        RecoveryStep::MakeDatastore(datastore) => {
            format!("make {datastore} anew: bkpctl apply, behind its gate")
        }
        RecoveryStep::Restore {
            source,
            from,
            bytes,
        } => format!("restore {source} from {from}{}", size(bytes)),
        RecoveryStep::Refill {
            datastore,
            jobs,
            bytes,
        } => format!("fill {datastore} again with {}{}", names(jobs), size(bytes)),
    }
}

fn time(disaster: &Disaster, rate: ByteSize) -> String {
    match disaster.bytes() {
        Some(ByteSize(0)) => "Nothing has to travel.".to_owned(),
        Some(bytes) => {
            let seconds = bytes.0 / rate.0.max(1);
            let time = text::took(Duration::from_secs(seconds));
            format!("{bytes} have to travel: roughly {time} at {rate} a second.")
        }
        None => "How much has to travel is not known; --facts FILE has the sizes that bkpctl observe --save FILE saw.".to_owned(),
    }
}

fn names(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    names.join(", ")
}

//! The plan as text: what matters first, a reason beside every change, the next step last.

use std::collections::BTreeMap;

use crate::cli::render::text::{self, Page, Style, Tone, escape, pad};
use crate::model::Name;
use crate::plan::change::{
    Action, CapacityLine, CopyState, Finding, GateKind, Landing, PhaseState, Plan, PolicyLine,
    Severity, Step, Verdict,
};

/// Returns a plan as text for people.
pub fn render(plan: &Plan, style: &Style) -> String {
    let mut page = Page::new(style);
    if plan.is_empty() && !plan.has_errors() && !plan.incomplete() {
        in_sync(&mut page, plan, style);
        return page.finish();
    }
    page.line(&header(plan, style));
    gates(&mut page, plan, style);
    findings(&mut page, plan, style);
    changes(&mut page, plan, style);
    data(&mut page, plan, style);
    page.gap();
    capacity(&mut page, plan, style);
    phases(&mut page, plan, style);
    policy(&mut page, plan, style);
    page.gap();
    page.hanging("", 0, &summary(plan), None);
    if style.next {
        page.hanging("", 0, &format!("Next: {}", next(plan)), Some(Tone::Heading));
    }
    page.finish()
}

fn header(plan: &Plan, style: &Style) -> String {
    let mut parts = vec![style.paint(Tone::Heading, plan.topology.name.as_str())];
    let lost = plan
        .nodes
        .iter()
        .filter(|n| n.unreachable.is_some())
        .count();
    let mut nodes = text::count(plan.nodes.len(), "node", "nodes");
    if lost > 0 {
        nodes.push_str(", ");
        nodes.push_str(&style.paint(Tone::Bad, &format!("{lost} not reached")));
    }
    parts.push(nodes);
    parts.extend(took(style));
    parts.join(" · ")
}

fn took(style: &Style) -> Option<String> {
    let took = style.took?;
    Some(format!("observed in {:.1} s", took.as_secs_f64()))
}

/// Says in one calm line that nothing is to be done, and how well all is protected.
fn in_sync(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let nodes = text::count(plan.nodes.len(), "node", "nodes");
    // Something that is not carried out or only warned of is not what people call in sync.
    let calm = plan.findings.iter().all(|f| f.severity == Severity::Note);
    let verdict = if calm {
        style.paint(Tone::Good, "In sync:")
    } else {
        style.paint(Tone::Caution, "Nothing to change:")
    };
    let mut parts = vec![format!("{verdict} {}", plan.topology.name), nodes];
    parts.extend(took(style));
    page.line(&parts.join(" · "));
    for line in protection(plan) {
        page.hanging("  ", 2, &line, None);
    }
    findings(page, plan, style);
    page.gap();
    phases(page, plan, style);
    policy(page, plan, style);
}

/// Sums up copies and proofs: how many, how old, how sure.
fn protection(plan: &Plan) -> Vec<String> {
    let there: Vec<_> = plan
        .protection
        .iter()
        .filter(|copy| copy.newest.is_some())
        .collect();
    let mut lines = Vec::new();
    let oldest = there
        .iter()
        .filter(|c| c.state != CopyState::Waiting)
        .max_by_key(|c| c.age);
    if let Some(oldest) = oldest {
        let copies = text::count(there.len(), "copy", "copies");
        let age = oldest.age.unwrap_or_default();
        let allowed = oldest
            .rpo
            .map_or_else(String::new, |rpo| format!(", allowed {rpo}"));
        lines.push(if there.len() == 1 {
            format!(
                "{copies}, {age} old{allowed} ({} in {})",
                oldest.source, oldest.datastore
            )
        } else {
            format!(
                "{copies}, the oldest {age} old{allowed} ({} in {})",
                oldest.source, oldest.datastore
            )
        });
    }
    let proven = plan.proofs.iter().filter(|proof| proof.passed.is_some());
    if let Some(last) = proven.max_by_key(|proof| proof.passed) {
        lines.push(format!(
            "last proven {} ago: {} restored from {}, {} and {} compared",
            last.age.unwrap_or_default(),
            last.source,
            last.datastore,
            text::count(last.files as usize, "entry", "entries"),
            last.bytes
        ));
    }
    lines
}

fn gates(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let gates = plan.gates();
    let width = gates
        .iter()
        .map(|gate| text::columns(&gate.address.to_string()))
        .max();
    let Some(width) = width else { return };
    page.heading("Needs your yes");
    let indent = " ".repeat(width + 6);
    for gate in gates {
        let asking = plan.pending().filter(|a| a.gate.as_ref() == Some(gate));
        for (number, action) in asking.enumerate() {
            let lead = if number == 0 {
                let mark = style.paint(Tone::Caution, "!");
                format!("  {mark} {}  ", pad(&gate.address.to_string(), width))
            } else {
                indent.clone()
            };
            page.hanging(&lead, width + 6, &gate_words(action), None);
        }
        let allow = format!("allow with --allow {gate}");
        page.hanging(&indent, width + 6, &allow, Some(Tone::Quiet));
    }
}

/// Says what a gated action would do to what is there.
fn gate_words(action: &Action) -> String {
    let node = &action.node;
    let kind = action.gate.as_ref().map(|gate| gate.kind);
    if kind == Some(GateKind::Recreate) {
        return recreate_words(action);
    }
    match &action.step {
        Step::SetOwner {
            path,
            uid,
            gid,
            recursive,
            entries,
        } => {
            let what = match (*recursive, *entries) {
                (true, n) if n > 1 => format!("{n} entries under {node}:{}", escape(path)),
                (true, _) => format!("everything under {node}:{}", escape(path)),
                (false, _) => format!("{node}:{}, which is not empty", escape(path)),
            };
            let before = action.before.as_deref().unwrap_or("others");
            format!(
                "change the owner of {what}, {} → {uid}:{gid}",
                escape(before)
            )
        }
        Step::SetMode { path, mode } => format!(
            "change the mode of {node}:{}, which is not empty, {} → {mode:o}",
            escape(path),
            escape(action.before.as_deref().unwrap_or("another"))
        ),
        Step::MakeRepository { datastore } => format!(
            "make a repository for {datastore} in a folder on {node} that holds something already"
        ),
        Step::Copy { source, .. } if kind == Some(GateKind::Command) => {
            format!("copy {source}: {}", escape(&action.reason))
        }
        Step::Copy {
            source, datastore, ..
        } => format!("copy {source} to {datastore} although it is read from another machine"),
        _ => format!("{} on {node}", escape(&action.after_words)),
    }
}

/// Says what would be done anew where a datastore was before.
fn recreate_words(action: &Action) -> String {
    let node = &action.node;
    match &action.step {
        Step::MakeFolder { path, .. } => {
            format!("make the folder {node}:{} anew, empty", escape(path))
        }
        Step::SetOwner { path, uid, gid, .. } => format!(
            "give the folder that is at {node}:{} now to {uid}:{gid}",
            escape(path)
        ),
        Step::SetMode { path, mode } => format!(
            "give the folder that is at {node}:{} now mode {mode:o}",
            escape(path)
        ),
        Step::MakeRepository { datastore } => {
            format!("make a repository for {datastore} on {node} anew, without its snapshots")
        }
        _ => format!("{} on {node}", escape(&action.after_words)),
    }
}

fn findings(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let notes = plan
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Note)
        .count();
    let shown: Vec<&Finding> = plan
        .findings
        .iter()
        .filter(|finding| style.detail || finding.severity != Severity::Note)
        .collect();
    if !shown.is_empty() {
        page.heading("Findings");
    }
    let width = shown
        .iter()
        .map(|finding| text::columns(&finding.address.to_string()))
        .max()
        .unwrap_or(0)
        .min(28);
    for finding in shown {
        one_finding(page, finding, width, style);
    }
    let mut hints = Vec::new();
    if notes > 0 && !style.detail {
        hints.push(format!("{}: --detail", text::count(notes, "note", "notes")));
    }
    if plan.findings.len() > notes {
        hints.push("bkpctl explain CODE says more".to_owned());
    }
    if !hints.is_empty() {
        page.gap();
        page.hanging("  ", 2, &hints.join(" · "), Some(Tone::Quiet));
    }
}

fn one_finding(page: &mut Page<'_>, finding: &Finding, width: usize, style: &Style) {
    const INDENT: usize = 10;
    let (mark, tone) = match finding.severity {
        Severity::Error => ("✗", Tone::Bad),
        Severity::Warning => ("⚠", Tone::Caution),
        Severity::Note => ("·", Tone::Quiet),
    };
    let lead = format!(
        "  {} {} {}  ",
        style.paint(tone, mark),
        finding.code,
        pad(&finding.address.to_string(), width)
    );
    let address = text::columns(&finding.address.to_string()).max(width);
    page.hanging(&lead, INDENT + address + 2, &escape(&finding.message), None);
    let indent = " ".repeat(INDENT);
    for line in &finding.because {
        page.hanging(&indent, INDENT, &escape(line), Some(Tone::Quiet));
    }
    let next = match (&finding.fix, finding.fixed_by_plan) {
        (_, true) => "fixed by this plan".to_owned(),
        (Some(fix), false) => format!("→ {}", escape(fix)),
        (None, false) => return,
    };
    page.hanging(&indent, INDENT, &next, None);
}

/// Returns the sign and the word for a change.
fn kind(action: &Action) -> (&'static str, &'static str) {
    let sign = if action.before.is_some() { "~" } else { "+" };
    let word = match &action.step {
        Step::CreateKey { .. } => "key",
        Step::PlaceBinary { .. } => "binary",
        Step::MakeFolder { .. } => "folder",
        Step::SetOwner { .. } => "owner",
        Step::SetMode { .. } => "mode",
        Step::MakeRepository { .. } => "repository",
        Step::WriteManaged { .. } if action.address.kind() == "phase" => "phase",
        Step::WriteManaged { .. } => "marker",
        Step::Register { .. } => "registry",
        Step::Copy { .. } => "copy",
        Step::Sync { .. } => "sync",
        Step::Drill { .. } => "drill",
    };
    (sign, word)
}

/// Returns whether an action moves data.
fn is_data(action: &Action) -> bool {
    matches!(
        action.step,
        Step::Copy { .. } | Step::Sync { .. } | Step::Drill { .. }
    )
}

fn changes(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let mut by_node: BTreeMap<&Name, Vec<&Action>> = BTreeMap::new();
    for action in plan.actions.iter().filter(|action| !is_data(action)) {
        by_node.entry(&action.node).or_default().push(action);
    }
    if by_node.is_empty() {
        return;
    }
    page.heading("Changes");
    let width = by_node
        .keys()
        .map(|node| text::columns(node.as_str()))
        .max();
    let width = width.unwrap_or(0);
    for (node, actions) in by_node {
        for (number, action) in actions.into_iter().enumerate() {
            let (sign, word) = kind(action);
            let tone = match (action.deferred.is_some(), sign) {
                (true, _) => Tone::Quiet,
                (false, "+") => Tone::Good,
                (false, _) => Tone::Caution,
            };
            let node = if number == 0 { node.as_str() } else { "" };
            let word = style.paint(tone, &format!("{sign} {}", pad(word, 10)));
            let lead = format!("  {}  {word}  ", pad(node, width));
            page.hanging(&lead, width + 18, &change_words(action), None);
        }
    }
}

fn change_words(action: &Action) -> String {
    let what = match (&action.step, &action.before) {
        (
            Step::SetOwner {
                path,
                uid,
                gid,
                recursive,
                entries,
            },
            Some(before),
        ) => {
            let many = match (*recursive, *entries) {
                (true, n) if n > 1 => format!(", {n} entries"),
                (true, _) => " and everything below".to_owned(),
                (false, _) => String::new(),
            };
            format!("{path} {before} → {uid}:{gid}{many}")
        }
        (Step::SetMode { path, mode }, Some(before)) => format!("{path} {before} → {mode:o}"),
        (Step::MakeRepository { datastore } | Step::WriteManaged { datastore, .. }, _)
            if action.address.kind() == "datastore" =>
        {
            format!("{datastore}: {}", action.after_words)
        }
        (Step::WriteManaged { .. }, _) => {
            format!("{}: {}", action.address.name(), action.after_words)
        }
        _ => action.after_words.clone(),
    };
    escape(&format!("{what} · {}", why(action)))
}

/// Returns the reason for an action, or why it has to wait.
fn why(action: &Action) -> String {
    match &action.deferred {
        None => action.reason.clone(),
        Some(deferred) => format!("deferred: {deferred}"),
    }
}

fn data(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let data: Vec<&Action> = plan.actions.iter().filter(|a| is_data(a)).collect();
    if data.is_empty() {
        return;
    }
    page.heading("Copies");
    let labels: Vec<(&str, String)> = data.iter().map(|action| label(action)).collect();
    let width = labels.iter().map(|(_, label)| text::columns(label)).max();
    let width = width.unwrap_or(0).min(32);
    for (action, (sign, label)) in data.into_iter().zip(labels) {
        let tone = if action.deferred.is_some() {
            Tone::Quiet
        } else {
            Tone::Good
        };
        let taken = text::columns(&label).max(width) + 6;
        let lead = format!("  {} {}  ", style.paint(tone, sign), pad(&label, width));
        page.hanging(&lead, taken, &data_words(action), None);
    }
}

fn label(action: &Action) -> (&'static str, String) {
    match &action.step {
        Step::Copy {
            source, datastore, ..
        } => ("↑", format!("{source} → {datastore}")),
        Step::Sync { from, to, .. } => ("⇉", format!("{from} → {to}")),
        Step::Drill { job, source, .. } => ("◷", format!("{job} {source}")),
        _ => ("·", action.address.to_string()),
    }
}

fn data_words(action: &Action) -> String {
    let mut parts = Vec::new();
    match &action.step {
        Step::Sync { sources, .. } => {
            let names: Vec<String> = sources.iter().map(ToString::to_string).collect();
            parts.push(names.join(", "));
        }
        Step::Drill { from, scratch, .. } => {
            let place = match scratch {
                Some(scratch) => format!("{}:{scratch}", action.node),
                None => format!("a temporary folder on {}", action.node),
            };
            parts.push(format!("restore from {from} to {place}, compare, remove"));
        }
        _ => {}
    }
    parts.push(why(action));
    if action.deferred.is_none() {
        parts.extend(action.landing.iter().map(landing));
    }
    escape(&parts.join(" · "))
}

/// Says how much lands and how much room there is.
fn landing(landing: &Landing) -> String {
    let bytes = match landing.bytes_max {
        Some(bytes) => format!("up to {bytes}"),
        None => "size not known".to_owned(),
    };
    match landing.free {
        Some(free) => format!("{bytes}, {free} free"),
        None => bytes,
    }
}

fn capacity(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    // What rounds to the same figure tells nobody anything.
    let changes = |line: &&CapacityLine| {
        let after = line.free_after.map(|after| after.to_string());
        style.detail || after != Some(line.free_before.to_string())
    };
    let lines: Vec<&CapacityLine> = plan.capacity.iter().filter(changes).collect();
    let place = |line: &CapacityLine| format!("{}:{}", line.node, escape(&line.mount));
    let width = lines.iter().map(|line| text::columns(&place(line))).max();
    for (number, line) in lines.iter().enumerate() {
        let after = match line.free_after {
            Some(after) => format!("{after} after this at worst"),
            None => "not known after this".to_owned(),
        };
        let reserve = match line.reserve.0 {
            0 => String::new(),
            _ => format!(", reserve {}", line.reserve),
        };
        let words = format!(
            "{}  {} free now, {after}{reserve}",
            pad(&place(line), width.unwrap_or(0)),
            line.free_before
        );
        lead(
            page,
            style,
            if number == 0 { "Capacity" } else { "" },
            &words,
        );
    }
}

fn phases(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    // One phase that is done says nothing that the rest does not say.
    if plan.phases.len() < 2 && plan.phases.iter().all(|p| p.state == PhaseState::Complete) {
        return;
    }
    let width = plan
        .phases
        .iter()
        .map(|p| text::columns(p.name.as_str()))
        .max();
    let width = width.unwrap_or(0);
    for (number, phase) in plan.phases.iter().enumerate() {
        let label = if number == 0 { "Phases" } else { "" };
        let state = match phase.state {
            PhaseState::Complete => "complete",
            PhaseState::Next => "next",
            PhaseState::Blocked => "later",
        };
        let words = format!(
            "{}  {}  {}",
            pad(phase.name.as_str(), width),
            pad(state, 8),
            escape(&phase.reason)
        );
        lead(page, style, label, &words);
    }
}

fn policy(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    if plan.policy.is_empty() {
        return;
    }
    let rules: Vec<String> = plan.policy.iter().map(rule).collect();
    // A rule is never broken in two, so they are laid out one by one.
    let room = style.columns().saturating_sub(10);
    let mut lines: Vec<String> = Vec::new();
    for rule in rules {
        match lines.last_mut() {
            Some(line) if text::columns(line) + 3 + text::columns(&rule) <= room => {
                line.push_str("   ");
                line.push_str(&rule);
            }
            _ => lines.push(rule),
        }
    }
    for (number, line) in lines.iter().enumerate() {
        lead(page, style, if number == 0 { "Policy" } else { "" }, line);
    }
}

fn rule(line: &PolicyLine) -> String {
    let detail = escape(&line.detail);
    match line.verdict {
        Verdict::Pass => format!("{} {detail} ✓", line.rule),
        Verdict::Deny => format!("{} {detail} ✗", line.rule),
        Verdict::Warn => format!("{} {detail} ⚠ more later", line.rule),
        Verdict::Unknown => format!("{} {detail} ? not all seen", line.rule),
        Verdict::Waived => format!("{} {detail}", line.rule),
        Verdict::NotChecked => format!("{} not checked ({detail})", line.rule),
    }
}

fn lead(page: &mut Page<'_>, style: &Style, label: &str, words: &str) {
    let label = style.paint(Tone::Heading, &pad(label, 10));
    page.hanging(&label, 10, words, None);
}

fn summary(plan: &Plan) -> String {
    let pending: Vec<&Action> = plan.pending().collect();
    let of = |kind: fn(&Step) -> bool| pending.iter().filter(|a| kind(&a.step)).count();
    let copies = of(|step| matches!(step, Step::Copy { .. }));
    let syncs = of(|step| matches!(step, Step::Sync { .. }));
    let drills = of(|step| matches!(step, Step::Drill { .. }));
    let changes = pending.len() - copies - syncs - drills;
    let deferred = plan.actions.len() - pending.len();
    let gates = plan.gates().len();
    let parts: Vec<String> = [
        (changes, "change", "changes"),
        (copies, "copy", "copies"),
        (syncs, "sync", "syncs"),
        (drills, "drill", "drills"),
        (gates, "needs your yes", "need your yes"),
        (deferred, "deferred", "deferred"),
    ]
    .into_iter()
    .filter(|(n, _, _)| *n > 0)
    .map(|(n, one, many)| text::count(n, one, many))
    .collect();
    if parts.is_empty() {
        "Nothing to change.".to_owned()
    } else {
        format!("{}.", parts.join(", "))
    }
}

/// Returns the command or the sentence that comes next.
fn next(plan: &Plan) -> String {
    // A command that starts a lost datastore anew is not one to paste without a thought.
    let lost = plan.gates().into_iter().find_map(|gate| {
        let of_it = |finding: &&Finding| {
            finding.severity == Severity::Error && finding.address == gate.address
        };
        let finding = plan.findings.iter().find(of_it)?;
        (gate.kind == GateKind::Recreate).then_some(finding)
    });
    if let Some(finding) = lost {
        return mend(finding);
    }
    if plan.pending().next().is_some() {
        let allowed: Vec<String> = plan
            .gates()
            .into_iter()
            .map(|gate| format!(" --allow {gate}"))
            .collect();
        return format!("bkpctl apply{}", allowed.concat());
    }
    let open = plan
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Error && !finding.fixed_by_plan);
    match open {
        Some(finding) => mend(finding),
        None => "bkpctl status".to_owned(),
    }
}

fn mend(finding: &Finding) -> String {
    format!(
        "mend {} {} above, then bkpctl plan again",
        finding.code, finding.address
    )
}

//! The plan as text: what matters first, a reason beside every change, the next step last.

pub mod markdown;
mod words;

use crate::cli::render::forecast;
pub(super) use crate::cli::render::plan::words::left_out;
use crate::cli::render::plan::words::{
    change_words, changes_by_node, changes_space, data_words, file_diff, gate_words, has_news,
    has_phases, kind, label, part, phase, rule, summary,
};
use crate::cli::render::text::{self, Page, Style, Tone, escape, pad};
use crate::model::Timestamp;
use crate::plan::change::{
    Action, CapacityLine, CopyState, Finding, GateKind, Plan, PolicyLine, Severity,
};
use crate::plan::saved::SavedPlan;

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
    space(&mut page, plan, style);
    phases(&mut page, plan, style);
    policy(&mut page, plan, style);
    page.gap();
    page.hanging("", 0, &summary(plan), None);
    rest(&mut page, plan);
    if style.next {
        page.hanging("", 0, &format!("Next: {}", next(plan)), Some(Tone::Heading));
    }
    page.finish()
}

/// Says which saved plan it is, and from what and when it was made.
pub fn render_saved(saved: &SavedPlan, now: Timestamp) -> String {
    let from = saved.commit.as_ref().map(|commit| {
        let short: String = commit.id.chars().take(12).collect();
        let dirty = if commit.dirty {
            " and changes on it"
        } else {
            ""
        };
        format!(" · from commit {short}{dirty}")
    });
    format!(
        "Saved plan {} · made {} ago by bkpctl {}{}\nDigest {}\n",
        short_id(saved),
        now.since(saved.plan.now),
        escape(&saved.version),
        escape(&from.unwrap_or_default()),
        escape(&saved.plan.digest),
    )
}

/// Says that a plan was saved, and how it is carried out.
pub fn render_kept(saved: &SavedPlan, file: &std::path::Path) -> String {
    format!(
        "Saved as plan {} in {}. It can be carried out once: bkpctl apply {}\nDigest {}",
        short_id(saved),
        file.display(),
        file.display(),
        saved.plan.digest
    )
}

fn short_id(saved: &SavedPlan) -> String {
    escape(&saved.id.chars().take(12).collect::<String>())
}

/// Says what the whole plan would do besides: a part never passes for all.
fn rest(page: &mut Page<'_>, plan: &Plan) {
    if let Some(words) = left_out(plan) {
        page.hanging("", 0, &words, None);
    }
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
    parts.extend(part(plan).map(|part| format!("part: {part}")));
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
    let verdict = match &plan.part {
        // Whoever looked at a part only does not know that all is in sync.
        Some(_) => style.paint(Tone::Heading, "Nothing to change in this part:"),
        None if calm => style.paint(Tone::Good, "In sync:"),
        None => style.paint(Tone::Caution, "Nothing to change:"),
    };
    let mut parts = vec![format!("{verdict} {}", plan.topology.name), nodes];
    parts.extend(part(plan));
    parts.extend(took(style));
    page.line(&parts.join(" · "));
    for line in protection(plan) {
        page.hanging("  ", 2, &line, None);
    }
    findings(page, plan, style);
    page.gap();
    space(page, plan, style);
    phases(page, plan, style);
    policy(page, plan, style);
    let mended_first = plan.first_to_mend().filter(|_| style.next && plan.denied());
    if plan.part.is_some() || mended_first.is_some() {
        page.gap();
    }
    if plan.part.is_some() {
        rest(page, plan);
    }
    if let Some(finding) = mended_first {
        let next = format!("Next: {}", mend(finding));
        page.hanging("", 0, &next, Some(Tone::Heading));
    }
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
        (None, false) => String::new(),
    };
    if !next.is_empty() {
        page.hanging(&indent, INDENT, &next, None);
    }
    if finding.is_beside() {
        let words = "left out of this part";
        page.hanging(&indent, INDENT, words, Some(Tone::Quiet));
    }
}

fn changes(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let by_node = changes_by_node(plan);
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
            if style.detail {
                file(page, action, style);
            }
        }
    }
}

/// Shows what a change does to a file of the system, line by line.
fn file(page: &mut Page<'_>, action: &Action, style: &Style) {
    const INDENT: &str = "      ";
    let Some((path, diff)) = file_diff(action) else {
        return;
    };
    page.line(&format!(
        "{INDENT}{}",
        style.paint(Tone::Quiet, &escape(path))
    ));
    for line in diff.lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            _ => Tone::Quiet,
        };
        let line = escape(line);
        // A line of a file is shown as it is, and broken only where there is no room.
        if INDENT.len() + text::columns(&line) <= style.columns() {
            page.line(&format!("{INDENT}{}", style.paint(tone, &line)));
        } else {
            page.hanging(INDENT, INDENT.len() + 2, &line, Some(tone));
        }
    }
}

fn data(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let data: Vec<&Action> = plan
        .actions
        .iter()
        .filter(|a| a.step.moves_data())
        .collect();
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

fn capacity(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let shown = |line: &&CapacityLine| style.detail || changes_space(line);
    let lines: Vec<&CapacityLine> = plan.capacity.iter().filter(shown).collect();
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

/// Says when filesystems reach their limits, where that is foreseen.
fn space(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    if let Some(words) = forecast::short(&plan.forecast, plan.now, style.detail) {
        lead(page, style, "Space", &words);
    }
}

fn phases(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    if !has_phases(plan) {
        return;
    }
    let width = plan
        .phases
        .iter()
        .map(|p| text::columns(p.name.as_str()))
        .max();
    let width = width.unwrap_or(0);
    for (number, line) in plan.phases.iter().enumerate() {
        let label = if number == 0 { "Phases" } else { "" };
        let words = format!(
            "{}  {}  {}",
            pad(line.name.as_str(), width),
            pad(phase(line.state), 8),
            escape(&line.reason)
        );
        lead(page, style, label, &words);
    }
}

fn policy(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let shown = |line: &&PolicyLine| style.detail || has_news(line);
    let rules: Vec<String> = plan.policy.iter().filter(shown).map(rule).collect();
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

fn lead(page: &mut Page<'_>, style: &Style, label: &str, words: &str) {
    let label = style.paint(Tone::Heading, &pad(label, 10));
    page.hanging(&label, 10, words, None);
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
    // Nor is one that would be refused.
    if plan.refused()
        && let Some(finding) = plan.first_to_mend()
    {
        return mend(finding);
    }
    if plan.pending().next().is_some() {
        let allowed: Vec<String> = plan
            .gates()
            .into_iter()
            .map(|gate| format!(" --allow {gate}"))
            .collect();
        let options = plan.part.iter().flat_map(|part| part.selection.options());
        let options: Vec<String> = options.map(|option| format!(" {option}")).collect();
        let apply = format!("bkpctl apply{}{}", options.concat(), allowed.concat());
        let destroys = plan
            .gates()
            .iter()
            .any(|gate| gate.kind == GateKind::Destroy);
        // Nor is one that destroys.
        return match plan.first_obstacle() {
            _ if destroys => format!("read above what would be destroyed; only then {apply}"),
            Some(left) if copies_nothing(plan) => format!(
                "mend {} {} above; until then {apply} copies nothing",
                left.code, left.address
            ),
            Some(left) => format!("{apply}; then mend {} {}", left.code, left.address),
            None => apply,
        };
    }
    let open = plan
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Error && finding.is_open());
    match open {
        Some(finding) => mend(finding),
        None if plan.left_out() > 0 => "bkpctl plan".to_owned(),
        None => "bkpctl status".to_owned(),
    }
}

/// Tells whether there are copies to be made, and not one of them can be.
fn copies_nothing(plan: &Plan) -> bool {
    let mut copies = plan
        .actions
        .iter()
        .filter(|a| a.step.moves_data())
        .peekable();
    copies.peek().is_some() && copies.all(|copy| copy.deferred.is_some())
}

fn mend(finding: &Finding) -> String {
    format!(
        "mend {} {} above, then bkpctl plan again",
        finding.code, finding.address
    )
}

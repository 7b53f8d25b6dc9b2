//! The words of a plan, whatever it is written for.

use std::collections::BTreeMap;

use crate::cli::render::text::{self, escape};
use crate::model::Name;
use crate::plan::change::{
    Action, CapacityLine, GateKind, Landing, PhaseState, Plan, PolicyLine, Step, Verdict,
};

/// Says what a gated action would do to what is there.
pub(super) fn gate_words(action: &Action) -> String {
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
        Step::DestroyRepository {
            datastore, path, ..
        } => {
            let what = action.before.as_deref().unwrap_or(path);
            format!("DESTROY {datastore} on {node}: {}", escape(what))
        }
        Step::Withdraw { .. } => {
            let what = action.before.as_deref().unwrap_or("it");
            format!("take back what is {} on {node}", escape(what))
        }
        Step::WriteManaged { datastore, .. } if kind == Some(GateKind::Unguard) => {
            format!("take the guard from {datastore}, so that it may be destroyed")
        }
        Step::WriteManaged { datastore, .. } if kind == Some(GateKind::Adopt) => {
            let what = action.before.as_deref().unwrap_or("a repository");
            format!(
                "mark what is in {datastore} as this topology's: {}",
                escape(what)
            )
        }
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

/// Returns the sign and the word for a change.
pub(super) fn kind(action: &Action) -> (&'static str, &'static str) {
    let sign = match (&action.step, &action.before) {
        (Step::DestroyRepository { .. } | Step::Withdraw { .. }, _) => "-",
        (_, Some(_)) => "~",
        (_, None) => "+",
    };
    (sign, action.word())
}

/// Says what a change is, and why.
pub(super) fn change_words(action: &Action) -> String {
    format!("{} · {}", change(action), escape(&why(action)))
}

/// Says what a change is: the state before and after.
pub(super) fn change(action: &Action) -> String {
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
        (Step::SetQuota { dataset, quota }, Some(before)) => {
            format!("{dataset} {before} → {quota}")
        }
        (Step::Export { .. }, Some(before)) => format!("{}, was {before}", action.after_words),
        (Step::DestroyRepository { .. } | Step::Withdraw { .. }, Some(before)) => {
            let name = action.address.name();
            format!("{name}: {before} → {}", action.after_words)
        }
        (Step::WriteManaged { datastore, .. }, Some(before)) => {
            format!("{datastore}: {before} → {}", action.after_words)
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
    escape(&what)
}

/// Returns the path of a file of the system that an action changes, and its unified diff.
pub(super) fn file_diff(action: &Action) -> Option<(&str, String)> {
    let (Step::Export { file, content, was }
    | Step::Mount {
        file, content, was, ..
    }) = &action.step
    else {
        return None;
    };
    let before = was.as_deref().unwrap_or_default();
    if before == content {
        return None;
    }
    let diff = similar::TextDiff::from_lines(before, content)
        .unified_diff()
        .context_radius(2)
        .to_string();
    Some((file, diff))
}

/// Returns the reason for an action, or why it has to wait.
pub(super) fn why(action: &Action) -> String {
    match &action.deferred {
        None => action.reason.clone(),
        Some(deferred) => format!("deferred: {deferred}"),
    }
}

/// Returns the sign and the short name of an action that moves data.
pub(super) fn label(action: &Action) -> (&'static str, String) {
    match &action.step {
        Step::Copy {
            source, datastore, ..
        } => ("↑", format!("{source} → {datastore}")),
        Step::Sync { from, to, .. } => ("⇉", format!("{from} → {to}")),
        Step::Drill { job, source, .. } => ("◷", format!("{job} {source}")),
        _ => ("·", action.address.to_string()),
    }
}

/// Says what of an action that moves data its short name does not say.
pub(super) fn data_words(action: &Action) -> String {
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

/// Says how a rule stands once the plan was carried out.
pub(super) fn rule(line: &PolicyLine) -> String {
    let detail = escape(&line.detail);
    match line.verdict {
        Verdict::Pass => format!("{} {detail} ✓", line.rule),
        Verdict::Deny | Verdict::Short => format!("{} {detail} ✗", line.rule),
        Verdict::Warn if line.standing => format!("{} {detail} ⚠", line.rule),
        Verdict::Warn => format!("{} {detail} ⚠ more later", line.rule),
        Verdict::Unknown => format!("{} {detail} ? not all seen", line.rule),
        Verdict::LeftOut => format!("{} {detail} ⚠ not by this part", line.rule),
        Verdict::Waived => format!("{} {detail}", line.rule),
        Verdict::NotChecked => format!("{} not checked ({detail})", line.rule),
    }
}

/// Returns whether a rule says anything: one that always counts does where it does not hold.
///
/// What could not be seen is told by the rules that the policy states.
pub(super) fn has_news(line: &PolicyLine) -> bool {
    let is_silent = matches!(line.verdict, Verdict::Pass | Verdict::Unknown);
    !line.standing || !is_silent
}

/// Counts what would be done.
pub(super) fn summary(plan: &Plan) -> String {
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

/// Says which part of the whole plan it is, in the words that chose it.
pub(super) fn part(plan: &Plan) -> Option<String> {
    let selection = &plan.part.as_ref()?.selection;
    Some(match selection.begun {
        Some(_) => "what was begun".to_owned(),
        None => selection.options().join(" "),
    })
}

/// Says how much the whole plan would do besides.
pub(in crate::cli::render) fn left_out(plan: &Plan) -> Option<String> {
    let selection = &plan.part.as_ref()?.selection;
    let more = match plan.left_out() {
        0 => return Some("The whole plan has nothing more to do.".to_owned()),
        n => text::count(n, "more change", "more changes"),
    };
    let is = if plan.left_out() == 1 { "is" } else { "are" };
    Some(match selection.begun {
        Some(_) => format!("{more} {is} no part of what is resumed, and left for a new plan."),
        None => format!(
            "{more} {is} left out by {}: bkpctl plan shows all.",
            selection.options().join(" ")
        ),
    })
}

/// Returns whether a filesystem's line says more than that nothing changes.
///
/// What rounds to the same figure tells nobody anything.
pub(super) fn changes_space(line: &CapacityLine) -> bool {
    let after = line.free_after.map(|after| after.to_string());
    after != Some(line.free_before.to_string())
}

/// Returns whether phases say anything that the rest does not: one that is done does not.
pub(super) fn has_phases(plan: &Plan) -> bool {
    plan.phases.len() > 1 || plan.phases.iter().any(|p| p.state != PhaseState::Complete)
}

/// Returns the word for how a phase stands.
pub(super) fn phase(state: PhaseState) -> &'static str {
    match state {
        PhaseState::Complete => "complete",
        PhaseState::Next => "next",
        PhaseState::Blocked => "later",
    }
}

/// Returns the actions that move no data, by the node whose state they change.
pub(super) fn changes_by_node(plan: &Plan) -> BTreeMap<&Name, Vec<&Action>> {
    let mut by_node: BTreeMap<&Name, Vec<&Action>> = BTreeMap::new();
    for action in plan
        .actions
        .iter()
        .filter(|action| !action.step.moves_data())
    {
        by_node.entry(&action.node).or_default().push(action);
    }
    by_node
}

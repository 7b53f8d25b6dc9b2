//! `bkpctl adopt`: mark a repository that was there already as this topology's.

use std::collections::BTreeSet;

use crate::apply::{Limits, Order, Stop};
use crate::cli::args::Adopt;
use crate::cli::context::{Context, Look, asks, confirm};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::progress::{Display, labels};
use crate::cli::render::text::{self, escape};
use crate::model::{Address, Name};
use crate::plan::Plan;
use crate::plan::change::{Action, GateKind, Severity};
use crate::plan::readiness::Readiness;
use crate::plan::saved::SavedPlan;
use crate::run::here;

/// Looks, shows what is in it, asks, and marks it.
pub fn run(context: &Context, args: &Adopt) -> Outcome {
    let look = context.look(&args.nodes.place.topology, &args.nodes.reach)?;
    let topology = &look.plan.topology;
    let Some((name, _)) = topology.datastores.get_key_value(args.datastore.as_str()) else {
        return Err(Failure::unknown(
            "datastore",
            &args.datastore,
            topology.datastores.keys(),
        ));
    };
    let address = Address::new("datastore", name);
    let Some(marks) = adoption(&look.plan, &address) else {
        return nothing_to_adopt(context, &look, name);
    };
    if let Some(why) = &marks.deferred {
        return Err(
            Failure::new(format!("{address} can't be adopted now: {why}"))
                .help("bkpctl plan says more"),
        );
    }
    let needed = needed(&look.plan, marks);
    let unasked = look.plan.actions.iter().find(|action| {
        needed.contains(&action.id) && action.id != marks.id && action.gate.is_some()
    });
    if let Some(first) = unasked {
        return Err(Failure::new(format!(
            "something else has to be agreed to before: {}",
            first.label()
        ))
        .help("bkpctl apply asks for all of it"));
    }
    context.print(&contents(&look, name, marks));
    ask(args, &address)?;
    carry_out(context, &look, marks, &needed)
}

/// Returns the action that marks a repository which was there already.
fn adoption<'a>(plan: &'a Plan, address: &Address) -> Option<&'a Action> {
    plan.actions.iter().find(|action| {
        let gate = action.gate.as_ref();
        gate.is_some_and(|gate| gate.kind == GateKind::Adopt && gate.address == *address)
    })
}

/// Says why there is nothing to adopt; that it is ours already is no failure.
fn nothing_to_adopt(context: &Context, look: &Look, name: &Name) -> Outcome {
    let address = Address::new("datastore", name);
    let mut findings = look.plan.findings.iter();
    let wrong = findings.find(|f| f.address == address && f.severity == Severity::Error);
    if let Some(wrong) = wrong {
        let failure = Failure::new(format!("{address} can't be adopted: {}", wrong.message));
        return Err(match &wrong.fix {
            Some(fix) => failure.help(fix.clone()),
            None => failure,
        });
    }
    let home = look.plan.topology.datastores[name].first_place();
    let facts = home.and_then(|place| look.fleet.observed.reached(place.node.as_str()));
    let Some(facts) = facts else {
        return Err(Failure::new(format!(
            "{name} could not be looked at: its node was not reached"
        ))
        .exit(Exit::Incomplete));
    };
    let store = facts.datastores.get(name);
    if store.is_some_and(|store| store.managed.is_some()) {
        context.print(&format!("{name} is marked as this topology's already."));
        return Ok(Exit::Ok);
    }
    Err(
        Failure::new(format!("there is no repository with snapshots in {name}"))
            .help("bkpctl apply makes one, or marks one without snapshots"),
    )
}

/// Returns an action and all that has to be done before it.
fn needed(plan: &Plan, action: &Action) -> BTreeSet<usize> {
    let mut needed = BTreeSet::from([action.id]);
    // What an action needs comes before it.
    for earlier in plan.actions.iter().rev() {
        if needed.contains(&earlier.id) {
            needed.extend(&earlier.after);
        }
    }
    needed
}

/// Says what is in a repository, source by source.
fn contents(look: &Look, name: &Name, marks: &Action) -> String {
    let topology = &look.plan.topology;
    let what = marks.before.as_deref().unwrap_or("a repository");
    let mut lines = vec![format!("{name} on {}: {}", marks.node, escape(what))];
    let nodes = look.plan.topology.nodes.keys();
    let mut seen = nodes.filter_map(|node| look.fleet.observed.reached(node.as_str()));
    let store = seen.find_map(|facts| facts.datastores.get(name));
    for (source, count) in store.iter().flat_map(|store| &store.counts) {
        let declared = if topology.sources.contains_key(source) {
            "declared"
        } else {
            "not declared, and kept"
        };
        let count = text::count(
            usize::try_from(*count).unwrap_or(usize::MAX),
            "snapshot",
            "snapshots",
        );
        lines.push(format!("  {source}  {count}, {declared}"));
    }
    lines.push(format!(
        "Adopted, it is topology {}'s: plans copy into it. Nothing in it is changed now.",
        topology.name
    ));
    lines.join("\n")
}

fn ask(args: &Adopt, address: &Address) -> Result<(), Failure> {
    if args.auto_approve {
        return Ok(());
    }
    if !asks() {
        return Err(
            Failure::new("there is no terminal to ask on, so nothing was adopted").help(format!(
                "bkpctl adopt {} --auto-approve, once the above has been read",
                args.datastore
            )),
        );
    }
    confirm("Type yes to adopt it: ", "yes")
        .map_err(|failure| failure.help(format!("{address} stays as it is")))
}

/// Carries out what marks it, and nothing else of the plan.
fn carry_out(context: &Context, look: &Look, marks: &Action, needed: &BTreeSet<usize>) -> Outcome {
    let plan = &look.plan;
    let standing = |action: &Action| {
        if needed.contains(&action.id) {
            Readiness::Ready
        } else {
            Readiness::Deferred("it is no part of the adoption".to_owned())
        }
    };
    let saved = SavedPlan::new(plan.clone(), env!("CARGO_PKG_VERSION"), None);
    let gate = marks.gate.as_ref().map(ToString::to_string);
    let order = Order {
        plan,
        id: saved.id,
        readiness: plan.actions.iter().map(standing).collect(),
        allowed: gate.into_iter().collect(),
        looked: look.at,
        holder: here::holder(),
        resumes: None,
        limits: Limits::default(),
    };
    let display = Display::new(labels(plan), true);
    let applied = crate::apply::apply(&order, &look.fleet, &display, &Stop::default())
        .map_err(|fault| Failure::new(format!("{}; nothing was adopted", fault.message)))?;
    if applied.failed() > 0 {
        return Err(
            Failure::new(format!("{} was not adopted", marks.address)).help("bkpctl log says why")
        );
    }
    context.print(&format!(
        "{} is this topology's now. Next: bkpctl plan",
        marks.address.name()
    ));
    Ok(Exit::Ok)
}

//! `bkpctl apply`: carry the changes out.

mod prepare;
mod resume;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::prepare::Prepared;
use crate::apply::Stop;
use crate::apply::outcome::{Observer, Outcome as Applied};
use crate::cli::args::Apply;
use crate::cli::commands::plan::unmet_gates;
use crate::cli::context::{Context, asks, confirm, now};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::progress::{Display, labels};
use crate::cli::render;
use crate::cli::render::text::Style;
use crate::cli::signal;
use crate::model::Name;
use crate::plan::Plan;
use crate::plan::need::nodes;
use crate::plan::readiness::{Readiness, readiness};
use crate::run::message::{Fault, FaultKind};

/// How long a person may think before the world is looked at once more.
const FRESH_FOR: Duration = Duration::from_mins(1);

/// Plans, asks, carries out, looks again.
pub fn run(context: &Context, args: &Apply) -> Outcome {
    context.telling("apply", args.ndjson, |context| apply(context, args))
}

fn apply(context: &Context, args: &Apply) -> Outcome {
    let Some(prepared) = prepare::prepare(context, args)? else {
        return Ok(Exit::Ok);
    };
    let plan = &prepared.look.plan;
    let style = Style {
        next: false,
        ..context.style(args.detail)
    };
    context.print(&render::plan::render(plan, &style));
    if let Some(events) = &context.events {
        events.plan(plan);
    }
    if prepared.ready().next().is_none() {
        return nothing_to_do(context, args, &prepared);
    }
    refuse_errors(plan)?;
    refuse_keys_that_only_look(&prepared)?;
    let prepared = ask(args, prepared)?;
    carry_out(context, args, prepared)
}

/// Ends where no action is left that could be carried out now.
fn nothing_to_do(context: &Context, args: &Apply, prepared: &Prepared) -> Outcome {
    if prepared.resumes.is_some() {
        // Whatever was left of it is there by now: that is written down, and it is over.
        let order = prepared.order(args);
        let quiet = Display::new(labels(&prepared.look.plan), true);
        crate::apply::apply(&order, &prepared.look.fleet, &quiet, &Stop::default())
            .map_err(not_begun)?;
    }
    if prepared.readiness.contains(&Readiness::Already) {
        crate::apply::refuse_used(&prepared.order(args), &prepared.look.fleet)
            .map_err(not_begun)?;
        context.print("Everything that this plan would bring about is there already.");
    }
    let plan = &prepared.look.plan;
    Ok(if plan.has_errors() {
        Exit::Error
    } else if plan.denied() {
        Exit::Policy
    } else if plan.incomplete() || prepared.out_of_sight() {
        Exit::Incomplete
    } else {
        Exit::Ok
    })
}

/// A plan whose findings say that it can't work changes nothing at all.
fn refuse_errors(plan: &Plan) -> Result<(), Failure> {
    if plan.refused() {
        let help = match plan.first_to_mend() {
            Some(finding) => format!(
                "change the topology ({} {} above), or waive the rule with a date and a reason",
                finding.code, finding.address
            ),
            None => "change the topology, or waive the rule with a date and a reason".to_owned(),
        };
        return Err(
            Failure::new("a rule of the policy denies this; nothing was changed")
                .exit(Exit::Policy)
                .help(help),
        );
    }
    Ok(())
}

/// A key that may only look would fail at each change, one by one.
fn refuse_keys_that_only_look(prepared: &Prepared) -> Result<(), Failure> {
    let (fleet, plan) = (&prepared.look.fleet, &prepared.look.plan);
    let of_part = plan.part.as_ref();
    let of_part = of_part.map(|_| nodes(&plan.topology, prepared.ready()));
    let only: Vec<&str> = fleet
        .topology
        .nodes
        .keys()
        .filter(|node| {
            of_part
                .as_ref()
                .is_none_or(|of_part| of_part.contains(*node))
        })
        .map(Name::as_str)
        .filter(|node| fleet.only_looks(node))
        .collect();
    if only.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the key that {} let us in with may only look; nothing was changed",
        only.join(", ")
    ))
    .help("apply with another key: one whose line in authorized_keys has no command=\"…\""))
}

/// Asks for every gate and for the whole, and looks again where that took long.
fn ask(args: &Apply, mut prepared: Prepared) -> Result<Prepared, Failure> {
    let start = Instant::now();
    let missing = unmet_gates(prepared.ready(), &prepared.allowed);
    for gate in missing {
        if args.auto_approve || !asks() {
            return Err(
                Failure::new(format!("{gate} needs an explicit yes; nothing was changed"))
                    .help(format!("bkpctl apply --allow {gate}")),
            );
        }
        confirm(&format!("Type {gate} to allow it: "), &gate)?;
        prepared.allowed.push(gate);
    }
    if !args.auto_approve {
        if !asks() {
            return Err(
                Failure::new("there is no terminal to ask on, so nothing was changed")
                    .help("bkpctl apply --auto-approve, once the plan above has been read"),
            );
        }
        confirm("Type yes to apply: ", "yes")?;
    }
    if start.elapsed() > FRESH_FOR {
        prepared.look.at = now();
        let observed = prepared.look.again.observe_for(&prepared.look.plan)?;
        refuse_stale(&readiness(&prepared.look.plan, &observed))?;
    }
    Ok(prepared)
}

/// A plan that relies on what is not so any more changes nothing at all.
fn refuse_stale(readiness: &[Readiness]) -> Result<(), Failure> {
    let mut changed: Vec<_> = readiness
        .iter()
        .filter_map(|ready| match ready {
            Readiness::Stale(changed) => Some(changed),
            _ => None,
        })
        .flatten()
        .collect();
    changed.sort();
    changed.dedup();
    if changed.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = changed
        .iter()
        .map(|changed| {
            let line = format!(
                "{}: planned for {}, now {}",
                changed.fact, changed.planned, changed.now
            );
            format!("\n  {}", render::text::escape(&line))
        })
        .collect();
    Err(Failure::new(format!(
        "the plan no longer fits what is there; nothing was changed{}",
        lines.concat()
    ))
    .exit(Exit::Stale)
    .help("plan anew, read it, then apply that"))
}

fn carry_out(context: &Context, args: &Apply, prepared: Prepared) -> Outcome {
    let told = context.events.clone();
    let quiet = context.quiet || told.is_some();
    let display = Arc::new(Display::new(labels(&prepared.look.plan), quiet));
    let shown = Arc::clone(&display);
    let stop = signal::stop_in_steps(move |line| match &told {
        Some(events) => events.remark(line),
        None => shown.warn(line),
    });
    let observer: &dyn Observer = match &context.events {
        Some(events) => &**events,
        None => &*display,
    };
    context.print("");
    let order = prepared.order(args);
    let fleet = &prepared.look.fleet;
    let applied = crate::apply::apply(&order, fleet, observer, &stop).map_err(not_begun)?;
    let look = prepared.look;
    drop(look.fleet);
    context.print(&render::apply::end_table(&look.plan, &applied));
    if let Some(events) = &context.events {
        events.applied(&applied);
    }
    // Look again, whatever happened: the report must say what is, not what was meant.
    let part = look.plan.part.as_ref().map(|part| part.selection.clone());
    let (whole, after) = look.again.plan_now(&part.unwrap_or_default())?;
    context.print(&render::status::render_status(
        &whole,
        &context.style(false),
    ));
    context.print(&render::apply::convergence(&applied, &after));
    if let Some(events) = &context.events {
        events.looked_again(&after);
    }
    Ok(verdict(&applied, &after))
}

/// Says why an apply did not even begin.
fn not_begun(fault: Fault) -> Failure {
    match fault.kind {
        FaultKind::Locked => {
            Failure::new(format!("{}; nothing was changed", fault.message)).exit(Exit::Locked)
        }
        FaultKind::Stale => Failure::new(fault.message)
            .exit(Exit::Stale)
            .help("bkpctl plan makes a new one; what was broken off goes on with apply --resume"),
        _ => Failure::new(format!("{}; nothing was changed", fault.message)),
    }
}

fn verdict(applied: &Applied, after: &Plan) -> Exit {
    if applied.stopped() {
        Exit::Interrupted
    } else if applied.failed_with(FaultKind::Locked) {
        Exit::Locked
    } else if applied.failed_with(FaultKind::Stale) {
        Exit::Stale
    } else if applied.failed() > 0 {
        if applied.done() > 0 {
            Exit::Partial
        } else {
            Exit::Error
        }
    } else if after.has_errors() {
        Exit::Error
    } else if after.denied() {
        Exit::Policy
    } else if applied.deferred() > 0 || after.incomplete() {
        Exit::Incomplete
    } else {
        Exit::Ok
    }
}

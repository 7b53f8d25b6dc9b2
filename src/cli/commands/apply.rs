//! `bkpctl apply`: carry the changes out.

use std::path::Path;

use crate::apply::outcome::Outcome as Applied;
use crate::cli::args::Apply;
use crate::cli::commands::plan::{save_load, unmet_gates};
use crate::cli::context::{Context, Look, asks, confirm};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::progress::{Display, labels};
use crate::cli::render;
use crate::cli::render::text::Style;
use crate::cli::signal;
use crate::model::Name;
use crate::plan::Plan;
use crate::run::message::FaultKind;

/// Plans, asks, carries out, looks again.
pub fn run(context: &Context, args: &Apply) -> Outcome {
    let saved = if args.topology.is_file() {
        save_load::read(&args.topology)?
    } else {
        None
    };
    let look = match &saved {
        Some(plan) => context.look_again(plan, &args.reach)?,
        None => context.look(&args.topology, &args.reach)?,
    };
    if let Some(saved) = &saved {
        same_plan(saved, &look.plan, &args.topology)?;
    }
    let style = Style {
        next: false,
        ..context.style(args.detail)
    };
    context.print(&render::plan::render(&look.plan, &style));
    if look.plan.pending().next().is_none() {
        return Ok(verdict_of_nothing(&look.plan));
    }
    refuse_errors(&look.plan)?;
    refuse_keys_that_only_look(&look)?;
    let missing = unmet_gates(&look.plan, &args.allow);
    for gate in &missing {
        if args.auto_approve || !asks() {
            return Err(
                Failure::new(format!("{gate} needs an explicit yes; nothing was changed"))
                    .help(format!("bkpctl apply --allow {gate}")),
            );
        }
        confirm(&format!("Type {gate} to allow it: "), gate)?;
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
    carry_out(context, look)
}

/// A plan whose findings say that it can't work changes nothing at all.
fn refuse_errors(plan: &Plan) -> Result<(), Failure> {
    if plan.denied() {
        return Err(
            Failure::new("a rule of the policy denies this; nothing was changed")
                .exit(Exit::Policy)
                .help("change the topology, or waive the rule with a date and a reason"),
        );
    }
    Ok(())
}

/// A key that may only look would fail at each change, one by one.
fn refuse_keys_that_only_look(look: &Look) -> Result<(), Failure> {
    let nodes = look.fleet.topology.nodes.keys();
    let only: Vec<&str> = nodes
        .map(Name::as_str)
        .filter(|node| look.fleet.only_looks(node))
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

fn same_plan(saved: &Plan, fresh: &Plan, file: &Path) -> Result<(), Failure> {
    if saved.digest == fresh.digest {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the saved plan {} no longer fits what is there: it would do {}, a plan of now would do {}",
        file.display(),
        counted(saved.actions.len()),
        counted(fresh.actions.len()),
    ))
    .exit(Exit::Stale)
    .help("bkpctl plan -o FILE, read it, then apply that one"))
}

fn counted(n: usize) -> String {
    if n == 1 {
        "1 action".to_owned()
    } else {
        format!("{n} actions")
    }
}

fn verdict_of_nothing(plan: &Plan) -> Exit {
    if plan.has_errors() {
        Exit::Error
    } else if plan.denied() {
        Exit::Policy
    } else if plan.incomplete() {
        Exit::Incomplete
    } else {
        Exit::Ok
    }
}

fn carry_out(context: &Context, look: Look) -> Outcome {
    let Look {
        plan, fleet, again, ..
    } = look;
    let display = Display::new(labels(&plan), context.quiet);
    let cancel = signal::stop_on_interrupt();
    context.print("");
    let applied = crate::apply::apply(&plan, &fleet, &display, &cancel);
    drop(fleet);
    context.print(&render::apply::end_table(&plan, &applied));
    // Look again, whatever happened: the report must say what is, not what was meant.
    let after = again.plan_now()?;
    context.print(&render::status::render_status(
        &after,
        &context.style(false),
    ));
    context.print(&render::apply::convergence(&applied, &after));
    Ok(verdict(&applied, &after))
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

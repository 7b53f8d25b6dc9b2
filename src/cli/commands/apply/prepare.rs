//! What an apply starts from: a plan made now, one from a file, or one that was broken off.

use std::collections::BTreeSet;
use std::path::Path;

use super::{refuse_stale, resume};
use crate::apply::{Limits, Order};
use crate::cli::args::Apply;
use crate::cli::commands::plan::save_load;
use crate::cli::context::{Context, Look};
use crate::cli::exit::{Exit, Failure};
use crate::model::Name;
use crate::plan::Plan;
use crate::plan::change::Action;
use crate::plan::readiness::{Readiness, readiness};
use crate::plan::saved::SavedPlan;
use crate::run::here;

/// The fewest digits of a digest that are taken for it: 64 bits, as many as nobody finds by trying.
const DIGITS_MIN: usize = 16;

/// A plan that may be asked for and carried out.
pub(super) struct Prepared {
    pub(super) look: Look,
    pub(super) id: String,
    pub(super) readiness: Vec<Readiness>,
    pub(super) allowed: Vec<String>,
    pub(super) resumes: Option<BTreeSet<Name>>,
}

impl Prepared {
    /// Returns the actions that would be carried out.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Action> {
        let all = self.look.plan.actions.iter().zip(&self.readiness);
        all.filter(|(_, ready)| **ready == Readiness::Ready)
            .map(|(action, _)| action)
    }

    /// Returns the order to carry it out.
    pub(super) fn order(&self, args: &Apply) -> Order<'_> {
        Order {
            plan: &self.look.plan,
            id: self.id.clone(),
            readiness: self.readiness.clone(),
            allowed: self.allowed.clone(),
            looked: self.look.at,
            holder: here::holder(),
            resumes: self.resumes.clone(),
            limits: Limits {
                at_once: usize::from(args.parallel),
                writers_per_disk: usize::from(args.writers_per_disk),
            },
        }
    }

    /// Tells whether a node that the plan counted on is not reached now.
    pub(super) fn out_of_sight(&self) -> bool {
        let all = self.look.plan.actions.iter().zip(&self.readiness);
        let mut lost = all.filter(|(action, ready)| {
            action.deferred.is_none() && matches!(ready, Readiness::Deferred(_))
        });
        lost.next().is_some()
    }
}

/// Looks at what is there, and makes ready what is to be done; none if nothing was broken off.
pub(super) fn prepare(context: &Context, args: &Apply) -> Result<Option<Prepared>, Failure> {
    let saved = if args.topology.is_file() {
        save_load::read(&args.topology)?
    } else {
        None
    };
    let asked = args.part.asked();
    if !asked.is_whole() && (saved.is_some() || args.resume) {
        let (what, help) = if saved.is_some() {
            (
                "a saved plan is carried out as it was read",
                "save the part: bkpctl plan --target ADDRESS -o FILE",
            )
        } else {
            (
                "--resume goes on with what was begun, whole or part",
                "leave --target, --exclude and --node away",
            )
        };
        return Err(Failure::new(format!("{what}; nothing was changed")).help(help));
    }
    if let Some(saved) = saved {
        return from_file(context, args, saved).map(Some);
    }
    let look = context.look(&args.topology, &args.reach)?.narrow(&asked)?;
    expect(args.expect.as_deref(), &look.plan, &args.topology)?;
    if args.resume {
        return resume::resume(context, args, look);
    }
    let saved = SavedPlan::new(look.plan.clone(), env!("CARGO_PKG_VERSION"), None);
    Ok(Some(Prepared {
        id: saved.id,
        readiness: as_planned(&look.plan),
        allowed: args.allow.clone(),
        resumes: None,
        look,
    }))
}

fn from_file(context: &Context, args: &Apply, saved: SavedPlan) -> Result<Prepared, Failure> {
    let problems = saved.lint();
    if !problems.is_empty() {
        return Err(Failure::new(format!(
            "{} is not carried out: {}",
            args.topology.display(),
            problems.join("; ")
        ))
        .help("make a new plan: bkpctl plan -o FILE"));
    }
    expect(args.expect.as_deref(), &saved.plan, &args.topology)?;
    let look = context.look_for(&saved.plan, &args.reach)?;
    let readiness = readiness(&saved.plan, &look.fleet.observed);
    refuse_stale(&readiness)?;
    Ok(Prepared {
        look,
        id: saved.id,
        readiness,
        allowed: args.allow.clone(),
        resumes: args.resume.then(BTreeSet::new),
    })
}

/// Returns how the actions of a plan stand that was made just now.
pub(super) fn as_planned(plan: &Plan) -> Vec<Readiness> {
    let standing = |action: &Action| match &action.deferred {
        Some(reason) => Readiness::Deferred(reason.clone()),
        None => Readiness::Ready,
    };
    plan.actions.iter().map(standing).collect()
}

/// Refuses a plan that does something else than the one that was reviewed.
fn expect(expected: Option<&str>, plan: &Plan, from: &Path) -> Result<(), Failure> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let expected = expected.to_ascii_lowercase();
    let is_digest =
        expected.len() >= DIGITS_MIN && expected.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest {
        return Err(Failure::new(format!(
            "--expect wants {DIGITS_MIN} or more hexadecimal digits of a plan's digest"
        ))
        .help("bkpctl plan --json and --md have it, and so does what bkpctl plan -o FILE prints"));
    }
    if plan.digest.starts_with(&expected) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the plan of {} is not the one that is expected: its digest is {}, expected {expected}; nothing was changed",
        from.display(),
        plan.digest
    ))
    .exit(Exit::Stale)
    .help("something changed since the review: read the new plan, then expect its digest"))
}

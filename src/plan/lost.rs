//! Datastores that were here and are gone: most often a disk that is not mounted.
//!
//! Making one anew would leave its history behind and fill the filesystem below the
//! mount point, so it wants an explicit yes.

use crate::model::Name;
use crate::model::observed::{Outcome, PathFacts};
use crate::model::topology::Phase;
use crate::plan::change::Finding;
use crate::plan::datastore::Site;
use crate::plan::draft::{Draft, Ground};
use crate::plan::folder::{Refusal, refusal};
use crate::plan::{registry, words};

impl Site<'_> {
    /// Returns what the registry says of the datastore, if it says that there was one
    /// and nothing of its repository is here.
    pub(super) fn lost(&self) -> Option<&str> {
        if self.store.marker.is_some() || self.store.marker_problem.is_some() {
            return None;
        }
        registry::listed(self.world, self.name)
    }

    /// Reports a datastore that was here and is gone.
    ///
    /// It is refused where not even the folder above is left, since no yes would help.
    pub(super) fn not_lost(&self, draft: &mut Draft, seen: &PathFacts) -> Result<(), Refusal> {
        let Some(entry) = self.lost() else {
            return Ok(());
        };
        let there = seen.components.last().map_or("/", |last| &last.path);
        let parent = words::parent(&self.place.path);
        let cut = seen.outcome == Outcome::Missing && !words::same_path(there, parent);
        let ground = Ground {
            node: &self.place.node,
            path: &self.place.path,
            seen: Some(seen),
        };
        let finding = self.gone(ground, seen, entry, cut.then_some(there));
        if cut {
            return Err(refusal(format!("{} is gone", self.name), finding));
        }
        draft.find(finding);
        Ok(())
    }

    /// Reports a datastore that was on its share and is gone.
    pub(super) fn gone_from_share(&self, draft: &mut Draft) {
        if let (Some(entry), Some(ground)) = (self.lost(), self.world.ground(self.name))
            && let Some(seen) = ground.seen
        {
            draft.find(self.gone(ground, seen, entry, None));
        }
    }

    /// Says why something is made: for the first time, or because it was lost.
    pub(super) fn why_made(&self, first_time: &str) -> String {
        match self.lost() {
            None => first_time.to_owned(),
            Some(_) => "it was here and is gone".to_owned(),
        }
    }

    /// Reports a datastore without anything in it, of which a phase that was complete has copies.
    ///
    /// No registry lists it there: its machine was replaced, another one answers in its place, or
    /// it is new in that phase. Which of these it is only a person knows.
    pub(super) fn missed(&self, draft: &mut Draft) {
        let has_copies = |phase: &&Phase| {
            let mut jobs = phase.jobs.iter();
            self.survey.was_complete(&phase.name) && jobs.any(|job| job.work.fills(self.name))
        };
        let phases = self.world.topology.phases.iter();
        let phases: Vec<&Name> = phases.filter(has_copies).map(|phase| &phase.name).collect();
        let (Some(first), None) = (phases.first(), self.lost()) else {
            return;
        };
        let ground = self.world.ground(self.name);
        let (node, path) = ground.map_or((&self.place.node, self.place.path.as_str()), |ground| {
            (ground.node, ground.path)
        });
        let message = format!("{first} was complete, and {node}:{path} holds no repository");
        let finding = Finding::warning("BK138", self.address(), message)
            .because(vec![
                format!("phase {} copies there", words::list(&phases)),
                format!("{node} does not know of an earlier repository"),
            ])
            .fix(format!(
                "if {node} was replaced, or is another machine than it was, look where the old repository is before you apply; if {} is new in {first}, all is well",
                self.name
            ));
        draft.find(finding);
    }

    fn gone(
        &self,
        ground: Ground<'_>,
        seen: &PathFacts,
        entry: &str,
        cut: Option<&str>,
    ) -> Finding {
        let (node, path) = (ground.node, ground.path);
        let elsewhere = entry != registry::entry(self.place);
        let message = if elsewhere {
            format!(
                "it was in another folder of {} before, and is not in {}",
                self.place.node, self.place.path
            )
        } else {
            format!("{node}:{path} was here and is gone: is its disk mounted?")
        };
        let mut because = vec![
            format!("the registry of {} lists it: {entry}", self.place.node),
            match (cut, seen.outcome, seen.empty) {
                (Some(there), _, _) => format!("the path exists as far as {there}"),
                (None, Outcome::Missing, _) => "the folder does not exist".to_owned(),
                (None, _, Some(true)) => "the folder is there and empty".to_owned(),
                (None, _, _) => "the folder is there and holds no repository".to_owned(),
            },
        ];
        if let Some(mount) = &seen.mount {
            because.push(format!(
                "the path is now on {} ({}), mounted at {}",
                mount.source, mount.fstype, mount.target
            ));
        }
        because.push("made anew it would be empty, without any of its snapshots".to_owned());
        let mend = if elsewhere {
            format!("move it there, or correct {}", self.datastore.declared)
        } else {
            format!("mount its disk on {node}")
        };
        let fix = if cut.is_some() {
            format!("{mend}, then bkpctl plan again")
        } else {
            format!(
                "{mend}, then bkpctl plan again; only if it is lost for good: --allow {}:recreate",
                self.address()
            )
        };
        self.error("BK135", message).because(because).fix(fix)
    }
}

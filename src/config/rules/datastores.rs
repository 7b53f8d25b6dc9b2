//! Datastores that share a folder, and datastores that grow for ever.

use std::collections::BTreeMap;

use super::Judge;
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;
use crate::config::document::Node as Statement;
use crate::config::schema::Kind;
use crate::model::Name;
use crate::model::retention::Keep;
use crate::model::topology::{DatastoreKind, Place, Topology};

/// Returns where a datastore is: at its place, and in what is mounted there.
fn homes_of(topology: &Topology, place: &Place) -> Vec<(String, String)> {
    let share = place.mount.as_ref().and_then(|mount| mount.share());
    let share = share.and_then(|share| topology.shares.get(share));
    let exported = share.map(|share| (share.on.to_string(), share.export.clone()));
    let own = (place.node.to_string(), place.path.clone());
    std::iter::once(own).chain(exported).collect()
}

impl Judge<'_> {
    pub(super) fn datastores(&mut self) {
        let topology = self.topology;
        let phases = topology.phases.iter();
        let after: BTreeMap<&Name, &Name> = phases
            .filter_map(|phase| Some((&phase.name, phase.after.as_ref()?)))
            .collect();
        let mut homes: BTreeMap<(String, String), &str> = BTreeMap::new();
        for (name, datastore) in &topology.datastores {
            let name = name.as_str();
            let own_homes: Vec<(String, String)> = match &datastore.kind {
                DatastoreKind::Directory { places } => places
                    .iter()
                    .flat_map(|place| homes_of(topology, place))
                    .collect(),
                DatastoreKind::S3(s3) => {
                    let prefix = s3.prefix.as_deref().unwrap_or_default();
                    vec![(s3.endpoint.clone(), format!("{}/{prefix}", s3.bucket))]
                }
            };
            for home in own_homes {
                match homes.get(&home) {
                    Some(first) if *first != name => self.shared_home(first, name, &home),
                    _ => drop(homes.insert(home, name)),
                }
            }
            if let DatastoreKind::Directory { places } = &datastore.kind {
                self.places_in_order(name, places, &after);
                self.mounts_of_others(name, places);
            }
            if datastore.keep.as_ref().is_none_or(Keep::is_empty) && !datastore.pbs {
                self.keeps_everything(name);
            }
        }
    }

    /// Reports a share that is to be mounted on the very node that exports it.
    fn mounts_of_others(&mut self, name: &str, places: &[Place]) {
        for (at, place) in places.iter().enumerate() {
            let Some(mount) = &place.mount else { continue };
            let (on, _) = place.mount_point(mount);
            let share = mount
                .share()
                .and_then(|share| self.topology.shares.get(share));
            let Some(share) = share.filter(|share| share.on == *on) else {
                continue;
            };
            let statement = self.node(Kind::Datastore, name);
            let statement = statement.and_then(|node| node.all("place").nth(at));
            let span = statement
                .and_then(|place| place.child("mount"))
                .map_or_else(|| self.head(Kind::Datastore, name), Statement::head);
            let message = format!("{on} would mount what it exports itself");
            self.mistakes.push(
                Mistake::new(Code::ToItself, span, message)
                    .label(format!("{} is on {on} already", share.export))
                    .help(format!(
                        "place the datastore there, without a mount: `place \"{on}\" path=\"{}\"`",
                        share.export
                    )),
            );
        }
    }

    /// Reports a place whose phase does not come after that of the place before it.
    fn places_in_order(&mut self, name: &str, places: &[Place], after: &BTreeMap<&Name, &Name>) {
        let wanted: Vec<&Name> = places
            .iter()
            .filter_map(|p| p.from_phase.as_ref())
            .collect();
        let mut still = wanted.as_slice();
        let mut at = wanted.last().copied();
        // A circle of phases is reported elsewhere and must not be followed for ever.
        for _ in 0..=after.len() {
            let (Some(here), Some((last, earlier))) = (at, still.split_last()) else {
                break;
            };
            if here == *last {
                still = earlier;
            }
            at = after.get(here).copied();
        }
        let (Some(before), Some(moved)) = (still.last(), wanted.get(still.len())) else {
            return;
        };
        let span = self
            .node(Kind::Datastore, name)
            .into_iter()
            .flat_map(|node| node.all("place"))
            .filter_map(|place| place.prop("from-phase"))
            .find(|entry| entry.text() == Some(moved.as_str()))
            .map_or_else(|| self.head(Kind::Datastore, name), |entry| entry.span);
        let message = format!(
            "phase {:?} does not come after phase {:?}",
            moved.as_str(),
            before.as_str()
        );
        self.mistakes.push(
            Mistake::new(Code::BadPlace, span, message)
                .label(format!("moves datastore {name:?} in no known order"))
                .help("write the places in the order of their phases, which `after` gives"),
        );
    }

    fn shared_home(&mut self, first: &str, second: &str, (node, path): &(String, String)) {
        let child = |name: &str| {
            let node = self.node(Kind::Datastore, name);
            if node.is_some_and(|node| node.child("s3").is_some()) {
                "s3"
            } else {
                "place"
            }
        };
        let span = self.at(Kind::Datastore, second, child(second));
        let other = self.at(Kind::Datastore, first, child(first));
        self.mistakes.push(
            Mistake::new(
                Code::Conflict,
                span,
                format!("datastores {first:?} and {second:?} are at the same place"),
            )
            .label(format!("{path} on {node}"))
            .help("give each datastore a place of its own: two that share one would delete each other's data")
            .related(other, format!("datastore {first:?} is there")),
        );
    }

    fn keeps_everything(&mut self, name: &str) {
        let span = self.head(Kind::Datastore, name);
        self.mistakes.push(
            Mistake::new(
                Code::KeepsEverything,
                span,
                format!("datastore {name:?} keeps every snapshot for ever"),
            )
            .warning()
            .label("grows until it is full")
            .help("say what to keep, for example `keep last=3 daily=7 weekly=4 monthly=12`"),
        );
    }
}

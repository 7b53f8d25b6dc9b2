//! Datastores: directories at one or more places, and buckets.

use super::{Builder, domain, parsed, said, text_prop};
use crate::config::check::titled;
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;
use crate::config::document::{Entry, Node as Statement};
use crate::config::schema::Kind;
use crate::model::Name;
use crate::model::retention::Keep;
use crate::model::topology::{Datastore, DatastoreKind, Disk, Mount, Mounted, Place, S3};

/// The mode of a datastore's folder if the topology says nothing.
const MODE: u32 = 0o750;

impl Builder<'_> {
    pub(super) fn datastore(&mut self, _: &Name, node: &Statement) -> Option<Datastore> {
        let kind = self.datastore_kind(node);
        let key = self.key_of(node);
        Some(Datastore {
            kind: kind?,
            owner: self.owner(node),
            mode: Self::owner_mode(node).unwrap_or(MODE),
            reserve: said(node, "reserve"),
            keep: node.child("keep").map(keep),
            verify_every: node
                .child("verify")
                .and_then(|verify| parsed(verify.prop("every"))),
            key: key?,
            domain: domain(node),
            pbs: node.child("pbs").is_some(),
            guard: node.child("guard").is_some(),
            declared: self.declared(node),
        })
    }

    fn datastore_kind(&mut self, node: &Statement) -> Option<DatastoreKind> {
        match (node.child("place"), node.child("s3")) {
            (Some(place), Some(s3)) => {
                self.conflict(
                    node,
                    place,
                    s3,
                    "a datastore is a directory or a bucket: keep one",
                );
                None
            }
            (None, None) => {
                self.missing(
                    node,
                    "where it is",
                    "add `place \"NODE\" path=\"/…\"`, or `s3 \"https://…\" bucket=\"…\"`",
                );
                None
            }
            (Some(_), None) => {
                for only_s3 in ["credentials", "object-lock"] {
                    if let (Some(statement), Some(place)) =
                        (node.child(only_s3), node.child("place"))
                    {
                        self.conflict(
                            node,
                            place,
                            statement,
                            "only a bucket has these: leave it out",
                        );
                    }
                }
                self.places(node)
            }
            (None, Some(s3)) => {
                for only_directory in ["owner", "reserve", "pbs", "guard"] {
                    if let Some(statement) = node.child(only_directory) {
                        self.conflict(
                            node,
                            s3,
                            statement,
                            "only a directory has these: leave it out",
                        );
                    }
                }
                let credentials = node.child("credentials");
                Some(DatastoreKind::S3(S3 {
                    endpoint: s3.text(0)?.to_owned(),
                    bucket: text_prop(s3, "bucket")?,
                    prefix: text_prop(s3, "prefix"),
                    region: text_prop(s3, "region"),
                    credentials_env: credentials.and_then(|c| text_prop(c, "env")),
                    credentials_on: credentials.and_then(|c| parsed(c.prop("on"))),
                    object_lock: said(node, "object-lock"),
                }))
            }
        }
    }

    fn places(&mut self, node: &Statement) -> Option<DatastoreKind> {
        let mut places: Vec<Place> = Vec::new();
        for statement in node.all("place") {
            let on: Name = parsed(statement.args().next())?;
            let path = self.path_on(on.as_str(), statement.prop("path"));
            let mount = statement.child("mount").and_then(|mount| self.mount(mount));
            let from_phase: Option<Name> = parsed(statement.prop("from-phase"));
            let problem = if places.is_empty() && from_phase.is_some() {
                Some("the first place is the one from the beginning and has no from-phase")
            } else if !places.is_empty() && from_phase.is_none() {
                Some("a further place says from which phase on it is the one")
            } else if places
                .iter()
                .any(|p| p.from_phase == from_phase && from_phase.is_some())
            {
                Some("two places can't take over in the same phase")
            } else {
                None
            };
            if let Some(problem) = problem {
                self.mistakes.push(
                    Mistake::new(Code::BadPlace, statement.head(), problem)
                        .label(format!("a place of {}", titled(node)))
                        .help("write the places in the order of their phases: the first without from-phase, each further one with its own"),
                );
            }
            places.push(Place {
                node: on,
                path: path?,
                mount,
                from_phase,
            });
        }
        (!places.is_empty()).then_some(DatastoreKind::Directory { places })
    }

    fn mount(&mut self, statement: &Statement) -> Option<Mount> {
        let on: Option<Name> = parsed(statement.prop("on"));
        let bind = match &on {
            Some(on) => self.path_on(on.as_str(), statement.prop("bind")),
            None => None,
        };
        if on.is_some() != statement.prop("bind").is_some() {
            self.missing(
                statement,
                "both on and bind",
                "a share that the host mounts for a container has on=\"HOST\" and bind=\"/path/on/the/host\"",
            );
        }
        Some(Mount {
            what: self.mounted(statement)?,
            options: self.plain_prop(statement, "options"),
            on,
            bind,
        })
    }

    fn mounted(&mut self, statement: &Statement) -> Option<Mounted> {
        match (statement.prop("share"), statement.prop("uuid")) {
            (Some(share), None) => {
                if let Some(filesystem) = statement.prop("filesystem") {
                    self.mistakes.push(
                        Mistake::new(
                            Code::Conflict,
                            filesystem.span,
                            "a share is mounted over NFS",
                        )
                        .label("says another filesystem")
                        .help("leave it out: only a disk has a filesystem of its own"),
                    );
                }
                Some(Mounted::Share(parsed(Some(share))?))
            }
            (None, Some(_)) => Some(Mounted::Disk(Disk {
                uuid: text_prop(statement, "uuid")?,
                filesystem: text_prop(statement, "filesystem"),
            })),
            (Some(_), Some(uuid)) => {
                self.mistakes.push(
                    Mistake::new(Code::Conflict, uuid.span, "mount says both share and uuid")
                        .label("excludes share")
                        .help("one thing is mounted at a place: keep one"),
                );
                None
            }
            (None, None) => {
                self.missing(
                    statement,
                    "what",
                    "write `mount share=\"NAME\"`, or `mount uuid=\"…\"` for a disk",
                );
                None
            }
        }
    }

    /// Returns the key a datastore names, or the only one there is.
    fn key_of(&mut self, node: &Statement) -> Option<Name> {
        if node.child("key").is_some() {
            return said(node, "key");
        }
        let mut keys = self.names.of(Kind::Key);
        let (first, second) = (keys.next(), keys.next());
        if let (Some((name, _)), None) = (first, second) {
            return Name::new(name).ok();
        }
        // An include that could not be read may hold the key.
        if !self.documents.partial {
            let help = match first {
                None => {
                    "declare one: `key \"lab\" { file \"~/.config/bkpctl/lab.key\" }`; `bkpctl key new lab` makes it"
                }
                Some(_) => "several keys are declared: say which, with `key NAME` in the datastore",
            };
            self.mistakes.push(
                Mistake::new(
                    Code::NoKey,
                    node.head(),
                    format!("{} has no reading key", titled(node)),
                )
                .label("everything is encrypted, so it needs one")
                .help(help),
            );
        }
        None
    }
}

fn keep(statement: &Statement) -> Keep {
    let rule = |name: &str| statement.prop(name).and_then(Entry::number);
    Keep {
        last: rule("last"),
        hourly: rule("hourly"),
        daily: rule("daily"),
        weekly: rule("weekly"),
        monthly: rule("monthly"),
        yearly: rule("yearly"),
    }
}

//! Checked statements become the topology.
//!
//! Nothing here reports what the table's checks reported already: a value that can't
//! be read is left out, and the topology is thrown away in the end.

mod datastore;
mod node;
mod phase;
mod policy;
mod source;

use std::collections::BTreeMap;
use std::str::FromStr;

use super::check::{says_unknown, titled};
use super::codes::Code;
use super::diagnostic::Mistake;
use super::document::{Entry, Node, Span};
use super::files::Documents;
use super::names::Names;
use super::schema::Kind;
use crate::model::topology::{Declared, Owner, ServiceUser, TopologyId};
use crate::model::{Name, Topology};

/// Builds the topology from what can be understood; mistakes are added.
pub(crate) fn build(
    documents: &Documents,
    names: &Names<'_>,
    folder: &str,
    mistakes: &mut Vec<Mistake>,
) -> Option<Topology> {
    let mut builder = Builder {
        documents,
        names,
        folder: folder.trim_end_matches('/'),
        mistakes,
    };
    builder.topology()
}

struct Builder<'a> {
    documents: &'a Documents,
    names: &'a Names<'a>,
    folder: &'a str,
    mistakes: &'a mut Vec<Mistake>,
}

/// Reads a text as what it stands for; checked before, so a failure was reported.
fn parsed<T: FromStr>(entry: Option<&Entry>) -> Option<T> {
    entry?.text()?.parse().ok()
}

/// Reads the first argument of a child statement.
fn said<T: FromStr>(node: &Node, child: &str) -> Option<T> {
    parsed(node.child(child)?.args().next())
}

/// Returns the texts of all arguments of all children of that name.
fn texts(node: &Node, child: &str) -> Vec<String> {
    node.all(child)
        .flat_map(Node::args)
        .filter_map(|entry| entry.text().map(str::to_owned))
        .collect()
}

/// Returns the names in all arguments of all children of that name.
fn names_in(node: &Node, child: &str) -> Vec<Name> {
    node.all(child)
        .flat_map(Node::args)
        .filter_map(|entry| parsed(Some(entry)))
        .collect()
}

fn text_prop(node: &Node, prop: &str) -> Option<String> {
    Some(node.prop(prop)?.text()?.to_owned())
}

fn domain(node: &Node) -> BTreeMap<String, String> {
    let entries = node.child("domain").map(|domain| domain.entries.as_slice());
    entries
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| {
            let key = entry.name.as_ref()?.text.to_string();
            Some((key, entry.text()?.to_owned()))
        })
        .collect()
}

impl Builder<'_> {
    fn topology(&mut self) -> Option<Topology> {
        let head = self.head();
        let users = self.each(Kind::User, Self::user);
        let nodes = self.each(Kind::Node, Self::node);
        let shares = self.each(Kind::Share, Self::share);
        let keys = self.each(Kind::Key, Self::key);
        let datastores = self.each(Kind::Datastore, Self::datastore);
        let sources = self.each(Kind::Source, Self::source);
        let guests = self.each(Kind::Source, Self::guests);
        let phases = self.phases();
        let policy = self.policy();
        let removed = self.removed();
        let moved = self.moved();
        let (name, id) = head?;
        Some(Topology {
            name,
            id,
            folder: self.folder.to_owned(),
            users,
            nodes,
            shares,
            datastores,
            keys,
            sources,
            guests,
            phases,
            policy,
            removed,
            moved,
        })
    }

    fn each<T>(
        &mut self,
        kind: Kind,
        build: fn(&mut Self, &Name, &Node) -> Option<T>,
    ) -> BTreeMap<Name, T> {
        let declared: Vec<(&str, &Node)> = self.names.of(kind).collect();
        declared
            .into_iter()
            .filter_map(|(name, node)| {
                let name = Name::new(name).ok()?;
                build(self, &name, node).map(|thing| (name, thing))
            })
            .collect()
    }

    fn head(&mut self) -> Option<(Name, TopologyId)> {
        let documents = self.documents;
        let mut heads = documents
            .nodes
            .iter()
            .filter(|node| &*node.name.text == "topology");
        let Some(head) = heads.next() else {
            if !documents.partial {
                self.mistakes.push(
                    Mistake::new(Code::NotATopology, Span::default(), "no file of this topology says its name and identity")
                        .help("begin with `topology \"name\" id=\"…\"`; the id is any 4 to 64 letters and digits that no other topology of yours has"),
                );
            }
            return None;
        };
        let id = text_prop(head, "id").map(TopologyId)?;
        Some((parsed(head.args().next())?, id))
    }

    /// Returns where a statement stands.
    fn declared(&self, node: &Node) -> Declared {
        let file = &self.documents.files[node.span.file as usize];
        Declared {
            file: file.path.clone(),
            line: file.line(node.span.start),
        }
    }

    fn user(&mut self, _: &Name, node: &Node) -> Option<ServiceUser> {
        Some(ServiceUser {
            uid: node.prop("uid")?.number()?,
            gid: node.prop("gid")?.number()?,
            declared: self.declared(node),
        })
    }

    /// Resolves the `owner` statement of a share or datastore.
    fn owner(&self, node: &Node) -> Option<Owner> {
        let user: Name = said(node, "owner")?;
        let declared = self.names.get(Kind::User, user.as_str())?;
        Some(Owner {
            uid: declared.prop("uid")?.number()?,
            gid: declared.prop("gid")?.number()?,
            user,
        })
    }

    fn owner_mode(node: &Node) -> Option<u32> {
        super::values::mode(node.child("owner")?.prop("mode")?.text()?)
    }

    /// Resolves a path on a node: absolute, or relative to the topology's folder where the
    /// node is this machine.
    fn path_on(&mut self, node: &str, entry: Option<&Entry>) -> Option<String> {
        let entry = entry?;
        let text = entry.text()?;
        let local = self
            .names
            .get(Kind::Node, node)
            .is_some_and(|node| node.child("local").is_some());
        let above = text.split('/').any(|part| part == "..");
        let problem = if above && (text.starts_with('/') || !local) {
            Some(("this path may not contain ..", "write the path in full"))
        } else if text.starts_with('~') {
            Some(("~ is not resolved on nodes", "write the path in full"))
        } else if !text.starts_with('/') && !local {
            Some((
                "a path on a node reached over SSH is absolute",
                "begin it with /",
            ))
        } else {
            None
        };
        if let Some((message, help)) = problem {
            self.mistakes.push(
                Mistake::new(Code::BadPath, entry.span, message)
                    .label("can't be used here")
                    .help(help),
            );
            return None;
        }
        Some(cleaned(&if text.starts_with('/') {
            text.to_owned()
        } else {
            format!("{}/{text}", self.folder)
        }))
    }

    /// Returns a property that goes into one word of a system's file, such as mount options.
    fn plain_prop(&mut self, node: &Node, prop: &str) -> Option<String> {
        self.plain(node.prop(prop)?)
    }

    /// Returns a text that stands as one word in a file of the system; reports any other.
    fn plain(&mut self, entry: &Entry) -> Option<String> {
        let text = entry.text()?;
        let is_plain = |c: char| c.is_ascii_graphic() && !"\"'\\()#".contains(c);
        if !text.is_empty() && text.len() <= 1024 && text.chars().all(is_plain) {
            return Some(text.to_owned());
        }
        self.mistakes.push(
            Mistake::new(
                Code::BadValue,
                entry.span,
                "this can't be written into a file of the system",
            )
            .label("goes there as one word")
            .help("use letters, digits and marks without blanks, quotes, parentheses, # and \\"),
        );
        None
    }

    /// Resolves a path of this machine's own, such as a key: relative to the file that names it.
    fn path_beside(&self, entry: Option<&Entry>) -> Option<String> {
        let entry = entry?;
        let text = entry.text()?;
        if text.starts_with(['/', '~']) {
            return Some(text.to_owned());
        }
        let file = &self.documents.files[entry.span.file as usize].path;
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        Some(cleaned(&format!("{}/{folder}/{text}", self.folder)))
    }

    fn conflict(&mut self, node: &Node, first: &Node, second: &Node, help: &str) {
        let (a, b) = (&first.name.text, &second.name.text);
        self.mistakes.push(
            Mistake::new(
                Code::Conflict,
                second.name.span,
                format!("{} says both {a} and {b}", titled(node)),
            )
            .label(format!("excludes {a}"))
            .help(help)
            .related(first.name.span, format!("{a} is said here")),
        );
    }

    fn missing(&mut self, node: &Node, what: &str, help: &str) {
        if node.broken || says_unknown(node) {
            return;
        }
        self.mistakes.push(
            Mistake::new(
                Code::Missing,
                node.head(),
                format!("{} does not say {what}", titled(node)),
            )
            .label("incomplete")
            .help(help),
        );
    }
}

/// Removes empty and `.` parts from an absolute path and resolves `..` in it.
fn cleaned(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

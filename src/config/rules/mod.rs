//! What no table can say: what must hold between the things of a topology.
//!
//! Rules about something that is absent run only where nothing else is wrong, since
//! what is absent may merely be misspelt.

mod datastores;
mod jobs;
mod order;
mod past;

use super::diagnostic::Mistake;
use super::document::{Entry, Node, Span};
use super::names::Names;
use super::schema::Kind;
use crate::model::Topology;

/// Judges a topology; `clean` says that nothing was wrong with it so far.
pub(crate) fn check(
    topology: &Topology,
    names: &Names<'_>,
    clean: bool,
    mistakes: &mut Vec<Mistake>,
) {
    let mut judge = Judge {
        topology,
        names,
        mistakes,
    };
    judge.order();
    judge.datastores();
    judge.jobs();
    if clean {
        judge.past();
        judge.absences();
    }
}

struct Judge<'a> {
    topology: &'a Topology,
    names: &'a Names<'a>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Judge<'a> {
    /// Returns the statement that declares a thing.
    fn node(&self, kind: Kind, name: &str) -> Option<&'a Node> {
        self.names.get(kind, name)
    }

    /// Returns the place of a thing's name where it is declared.
    fn head(&self, kind: Kind, name: &str) -> Span {
        self.node(kind, name).map(Node::head).unwrap_or_default()
    }

    /// Returns the place of a child statement's first value, or that of the thing.
    fn at(&self, kind: Kind, name: &str, child: &str) -> Span {
        self.node(kind, name)
            .and_then(|node| node.child(child))
            .map_or_else(|| self.head(kind, name), Node::head)
    }

    /// Returns the place of a name among the arguments of a child statement.
    fn arg(&self, kind: Kind, name: &str, child: &str, arg: &str) -> Span {
        self.node(kind, name)
            .into_iter()
            .flat_map(|node| node.all(child))
            .flat_map(Node::args)
            .find(|entry| entry.text() == Some(arg))
            .map_or_else(|| self.at(kind, name, child), |entry| entry.span)
    }

    /// Returns the place of a property's value.
    fn prop(&self, kind: Kind, name: &str, prop: &str) -> Span {
        self.node(kind, name)
            .and_then(|node| node.prop(prop))
            .map_or_else(|| self.head(kind, name), |entry: &Entry| entry.span)
    }
}

//! What is said about the past fits what is declared now.

use super::Judge;
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;
use crate::config::document::Span;
use crate::config::schema::Kind;
use crate::config::suggest::did_you_mean;
use crate::model::Address;

/// The kinds of address that a topology declares, and what declares them.
const KINDS: &[(&str, Kind)] = &[
    ("node", Kind::Node),
    ("share", Kind::Share),
    ("datastore", Kind::Datastore),
    ("key", Kind::Key),
    ("source", Kind::Source),
    ("guests", Kind::Source),
    ("phase", Kind::Phase),
    ("backup", Kind::Job),
    ("sync", Kind::Job),
    ("cloud", Kind::Job),
    ("drill", Kind::Job),
    ("service-user", Kind::User),
];

impl Judge<'_> {
    pub(super) fn past(&mut self) {
        let topology = self.topology;
        for (removed, span) in topology.removed.iter().zip(self.names.removed()) {
            if self.is_declared(&removed.address, span) == Some(true) {
                self.wrong(
                    span,
                    format!(
                        "{} is said to be removed and is still declared",
                        removed.address
                    ),
                    "delete its declaration, or this statement",
                );
            }
        }
        for (moved, (from, to)) in topology.moved.iter().zip(self.names.moved()) {
            if moved.from.kind() != moved.to.kind() {
                self.wrong(
                    to,
                    format!("{} can't become {}", moved.from, moved.to),
                    "a rename stays within a kind",
                );
                continue;
            }
            if self.is_declared(&moved.from, from) == Some(true) {
                self.wrong(
                    from,
                    format!("{} is said to be renamed and is still declared", moved.from),
                    "delete its declaration, or this statement",
                );
            }
            if self.is_declared(&moved.to, to) == Some(false) {
                self.wrong(
                    to,
                    format!("{} is not declared", moved.to),
                    "a rename leads to a name that is declared now",
                );
            }
        }
    }

    /// Returns whether an address is declared; `None` if it is of no kind, which is reported.
    fn is_declared(&mut self, address: &Address, span: Span) -> Option<bool> {
        let kind = address.kind();
        let Some((_, found)) = KINDS.iter().find(|(word, _)| *word == kind) else {
            let words = KINDS.iter().map(|(word, _)| *word);
            let help = match did_you_mean(kind, words.clone()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("kinds: {}", words.collect::<Vec<_>>().join(", ")),
            };
            self.wrong(
                span,
                format!("{kind} is no kind of thing in a topology"),
                &help,
            );
            return None;
        };
        let node = self.names.get(*found, address.name().as_str());
        Some(node.is_some_and(|node| &*node.name.text == kind))
    }

    fn wrong(&mut self, span: Span, message: String, help: &str) {
        self.mistakes.push(
            Mistake::new(Code::StillDeclared, span, message)
                .label("here")
                .help(help),
        );
    }
}

//! Sources and groups of guests.

use super::{Builder, parsed, said, text_prop, texts};
use crate::config::document::{Entry, Node as Statement};
use crate::model::Name;
use crate::model::topology::{Content, Guests, Source};

/// The statements of a source that say what it reads.
const CONTENTS: [&str; 4] = ["path", "volume", "command", "guest"];

impl Builder<'_> {
    pub(super) fn source(&mut self, _: &Name, node: &Statement) -> Option<Source> {
        if &*node.name.text != "source" {
            return None;
        }
        let on: Name = parsed(node.prop("on"))?;
        let content = self.content(node, &on);
        Some(Source {
            on,
            content: content?,
            declared: self.declared(node),
        })
    }

    fn content(&mut self, node: &Statement, on: &Name) -> Option<Content> {
        let mut said_contents = CONTENTS.iter().filter_map(|name| node.child(name));
        let Some(first) = said_contents.next() else {
            self.missing(
                node,
                "what it reads",
                "add `path \"/…\"`, `volume \"/dev/…\"`, `command \"program\" \"argument\"` or `guest NUMBER`",
            );
            return None;
        };
        if let Some(second) = said_contents.next() {
            self.conflict(
                node,
                first,
                second,
                "a source reads one thing: make two sources",
            );
            return None;
        }
        let kind = &*first.name.text;
        let belongs = [
            ("exclude", "path"),
            ("one-file-system", "path"),
            ("name", "command"),
        ];
        for (statement, to) in belongs {
            if let Some(stray) = node.child(statement).filter(|_| kind != to) {
                self.conflict(
                    node,
                    first,
                    stray,
                    &format!("{statement} goes with {to}: leave it out"),
                );
            }
        }
        match kind {
            "path" => self.paths(node, on),
            "volume" => Some(Content::Volume {
                device: self.path_on(on.as_str(), first.args().next())?,
                via: text_prop(first, "via"),
            }),
            "command" => Some(Content::Command {
                argv: texts(node, "command"),
                run_as: text_prop(first, "as"),
                name: said::<Name>(node, "name").map(String::from),
                timeout: parsed(first.prop("timeout")),
            }),
            _ => Some(Content::Guest(first.args().next()?.number()?)),
        }
    }

    fn paths(&mut self, node: &Statement, on: &Name) -> Option<Content> {
        let entries: Vec<&Entry> = node.all("path").flat_map(Statement::args).collect();
        let given = entries.len();
        let paths: Vec<String> = entries
            .into_iter()
            .filter_map(|entry| self.path_on(on.as_str(), Some(entry)))
            .collect();
        (paths.len() == given && given > 0).then(|| Content::Paths {
            paths,
            exclude: texts(node, "exclude"),
            one_file_system: node.child("one-file-system").is_some(),
        })
    }

    pub(super) fn guests(&mut self, _: &Name, node: &Statement) -> Option<Guests> {
        if &*node.name.text != "guests" {
            return None;
        }
        let first: Name = parsed(node.prop("on"))?;
        let more = node.args().skip(1).filter_map(|entry| parsed(Some(entry)));
        let on = std::iter::once(first).chain(more).collect();
        let all = node.child("all");
        match (all, node.child("only")) {
            (Some(all), Some(only)) => {
                self.conflict(node, all, only, "take all guests, or only some");
                return None;
            }
            (None, None) => self.missing(node, "which guests", "add `all`, or `only 101 102`"),
            _ => {}
        }
        Some(Guests {
            on,
            all: all.is_some(),
            only: numbers(node, "only"),
            except: numbers(node, "except"),
            declared: self.declared(node),
        })
    }
}

fn numbers(node: &Statement, child: &str) -> Vec<u32> {
    node.all(child)
        .flat_map(Statement::args)
        .filter_map(Entry::number)
        .collect()
}

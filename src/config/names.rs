//! What is declared, and whether every reference finds it.

use std::collections::BTreeMap;

use super::check::{MISTAKES_MAX, titled};
use super::codes::Code;
use super::diagnostic::Mistake;
use super::document::{Entry, Node, Span};
use super::files::SourceFile;
use super::schema::{Kind, Statement, TOPOLOGY, Type, with_article};
use super::suggest::did_you_mean;

/// How many declared names are looked through for a similar one.
const SUGGESTIONS_FROM: usize = 2_000;
/// How many declared names a message lists.
const LISTED_MAX: usize = 8;

/// Every declared thing with the node that declares it.
pub(crate) struct Names<'a> {
    by_kind: BTreeMap<Kind, BTreeMap<&'a str, &'a Node>>,
    top: &'a [Node],
}

impl<'a> Names<'a> {
    /// Collects what is declared; a name that comes twice is a mistake, and the first counts.
    pub(crate) fn collect(nodes: &'a [Node], mistakes: &mut Vec<Mistake>) -> Self {
        let mut names = Self {
            by_kind: BTreeMap::new(),
            top: nodes,
        };
        names.walk(nodes, &TOPOLOGY, mistakes);
        names
    }

    fn walk(&mut self, nodes: &'a [Node], parent: &'static Statement, mistakes: &mut Vec<Mistake>) {
        for node in nodes {
            let Some(statement) = parent.child(&node.name.text) else {
                continue;
            };
            if let (Some(kind), Some(name)) = (statement.declares(), node.text(0)) {
                let known = self.by_kind.entry(kind).or_default();
                if let Some(first) = known.get(name) {
                    if mistakes.len() < MISTAKES_MAX {
                        mistakes.push(
                            Mistake::new(
                                Code::DeclaredTwice,
                                node.head(),
                                format!("{} is declared twice", titled(node)),
                            )
                            .label("declared again")
                            .help("rename one of them, or remove it")
                            .related(first.head(), format!("{} is declared here", titled(first))),
                        );
                    }
                } else {
                    known.insert(name, node);
                }
            }
            self.walk(node.children(), statement, mistakes);
        }
    }

    /// Returns the node that declares a thing.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&'a Node> {
        self.by_kind.get(&kind)?.get(name).copied()
    }

    /// Returns how many things of a kind are declared.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.by_kind
            .get(&kind)
            .into_iter()
            .flatten()
            .map(|(name, node)| (*name, *node))
    }

    /// Returns the policy.
    pub(crate) fn policy(&self) -> Option<&'a Node> {
        self.top.iter().find(|node| &*node.name.text == "policy")
    }

    /// Returns the places of the addresses in `removed`, in order.
    pub(crate) fn removed(&self) -> Vec<Span> {
        let removed = self.top.iter().filter(|node| &*node.name.text == "removed");
        removed.map(Node::head).collect()
    }

    /// Returns the places of both addresses in each `moved`, in order.
    pub(crate) fn moved(&self) -> Vec<(Span, Span)> {
        let place = |node: &Node, prop| node.prop(prop).map_or(node.name.span, |entry| entry.span);
        self.top
            .iter()
            .filter(|node| &*node.name.text == "moved")
            .map(|node| (place(node, "from"), place(node, "to")))
            .collect()
    }

    /// Reports every reference that finds nothing.
    pub(crate) fn check(&self, nodes: &[Node], files: &[SourceFile], mistakes: &mut Vec<Mistake>) {
        let mut search = Search {
            names: self,
            files,
            mistakes,
        };
        search.walk(nodes, &TOPOLOGY, None);
    }
}

struct Search<'a, 'n> {
    names: &'a Names<'n>,
    files: &'a [SourceFile],
    mistakes: &'a mut Vec<Mistake>,
}

impl Search<'_, '_> {
    fn walk(&mut self, nodes: &[Node], parent: &'static Statement, owner: Option<&Node>) {
        for node in nodes {
            if self.mistakes.len() >= MISTAKES_MAX {
                return;
            }
            let Some(statement) = parent.child(&node.name.text) else {
                continue;
            };
            let owner = if statement.declares().is_some() {
                Some(node)
            } else {
                owner
            };
            for (index, entry) in node.args().enumerate() {
                let last = statement.args.len().saturating_sub(1);
                if let Some(arg) = statement.args.get(index.min(last)) {
                    self.entry(entry, arg.is, statement.name, owner);
                }
            }
            for entry in &node.entries {
                let name = entry.name.as_ref().map(|word| &*word.text);
                if let Some(prop) = statement.props.iter().find(|prop| Some(prop.name) == name) {
                    self.entry(entry, prop.is, prop.name, owner);
                }
            }
            self.walk(node.children(), statement, owner);
        }
    }

    fn entry(&mut self, entry: &Entry, is: Type, word: &str, owner: Option<&Node>) {
        let (Type::Refers(kind), Some(name)) = (is, entry.text()) else {
            return;
        };
        if name.is_empty() || self.names.get(kind, name).is_some() {
            return;
        }
        let subject = owner.map_or_else(|| "the topology".to_owned(), titled);
        let what = kind.word();
        let message = format!(
            "{subject} {} {} that does not exist",
            verb(word),
            with_article(what)
        );
        let quoted = shortened(name);
        self.mistakes.push(
            Mistake::new(Code::UnknownName, entry.span, message)
                .label(format!("no {what} is called {quoted}"))
                .help(self.help(kind, name)),
        );
    }

    fn help(&self, kind: Kind, name: &str) -> String {
        let known = || self.names.of(kind).take(SUGGESTIONS_FROM);
        if let Some(near) = did_you_mean(name, known().map(|(name, _)| name))
            && let Some(node) = self.names.get(kind, near)
        {
            let Span { file, start, .. } = node.span;
            let file = &self.files[file as usize];
            return format!(
                "did you mean {near:?}?  declared at {}:{}",
                file.path,
                file.line(start)
            );
        }
        let listed: Vec<String> = known()
            .take(LISTED_MAX)
            .map(|(name, _)| shortened(name))
            .collect();
        let more = if known().count() > LISTED_MAX {
            ", …"
        } else {
            ""
        };
        if listed.is_empty() {
            format!(
                "none is declared; `{} {}` declares one",
                kind.statement(),
                shortened(name)
            )
        } else {
            format!("declared: {}{more}", listed.join(", "))
        }
    }
}

fn shortened(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}

/// Returns how a sentence about a reference goes on.
fn verb(word: &str) -> &'static str {
    match word {
        "to" => "copies to",
        "from" => "reads",
        "on" | "guests" => "is on",
        "source" => "takes",
        "jump" => "is reached through",
        "place" => "is served from",
        "owner" => "belongs to",
        "use" => "uses",
        "after" | "from-phase" => "waits for",
        "mount" | "share" => "mounts",
        "dedup-with" => "shares chunk ids with",
        _ => "names",
    }
}

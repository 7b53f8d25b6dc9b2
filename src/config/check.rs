//! Every statement is held against the table: unknown, missing, repeated, mistyped.

use super::codes::Code;
use super::diagnostic::Mistake;
use super::document::{Entry, Node, Value};
use super::schema::{Statement, TOPOLOGY, Type, with_article};
use super::suggest::did_you_mean;
use super::values;

/// The most mistakes that are reported at once; more help nobody.
pub(crate) const MISTAKES_MAX: usize = 100;

/// Checks the top of a topology and all below it.
pub(crate) fn check(nodes: &[Node], mistakes: &mut Vec<Mistake>) {
    let mut checker = Checker { mistakes };
    checker.children(nodes, &TOPOLOGY);
}

struct Checker<'a> {
    mistakes: &'a mut Vec<Mistake>,
}

impl Checker<'_> {
    fn full(&self) -> bool {
        self.mistakes.len() >= MISTAKES_MAX
    }

    fn children(&mut self, nodes: &[Node], parent: &'static Statement) {
        for (index, node) in nodes.iter().enumerate() {
            if self.full() {
                return;
            }
            let name = &*node.name.text;
            let Some(statement) = parent.child(name) else {
                let mistake = unknown(node, parent);
                self.mistakes.push(mistake);
                continue;
            };
            if !statement.repeats
                && let Some(first) = nodes[..index].iter().find(|n| &*n.name.text == name)
            {
                self.mistakes.push(
                    Mistake::new(
                        Code::Repeated,
                        node.name.span,
                        format!("{name} is said twice{}", inside(parent)),
                    )
                    .label("said again")
                    .help("keep one of them")
                    .related(first.name.span, "said first here"),
                );
            }
            self.statement(node, statement);
        }
    }

    fn statement(&mut self, node: &Node, statement: &'static Statement) {
        self.args(node, statement);
        self.props(node, statement);
        if statement.children.is_empty() {
            if node.children.is_some() {
                self.mistakes.push(
                    Mistake::new(
                        Code::TooMany,
                        node.name.span,
                        format!("{} takes no block", statement.name),
                    )
                    .label("has a block in braces"),
                );
            }
            return;
        }
        self.children(node.children(), statement);
        if node.broken {
            return;
        }
        for child in statement.children.iter().filter(|child| child.required) {
            if node.child(child.name).is_none() {
                self.mistakes.push(
                    Mistake::new(
                        Code::Missing,
                        node.head(),
                        format!("{} says no {}", titled(node), child.name),
                    )
                    .label(format!("needs {}", child.name))
                    .help(format!(
                        "add `{}` to its block: {}",
                        sketch(child),
                        lower(child.doc)
                    )),
                );
            }
        }
    }

    fn args(&mut self, node: &Node, statement: &'static Statement) {
        let mut index = 0;
        for entry in node.args() {
            let Some(arg) = statement.args.get(index) else {
                self.mistakes.push(too_many(entry, node, statement));
                return;
            };
            if !arg.repeats {
                index += 1;
            }
            self.value(entry, arg.is);
        }
        let given = node.args().count();
        if let Some(arg) = statement.args.get(given).filter(|arg| arg.required)
            && !node.broken
        {
            self.mistakes.push(
                Mistake::new(
                    Code::Missing,
                    node.name.span,
                    format!("{} needs {}", statement.name, with_article(arg.name)),
                )
                .label(format!("no {} given", arg.name))
                .help(format!("write `{}`", sketch(statement))),
            );
        }
    }

    fn props(&mut self, node: &Node, statement: &'static Statement) {
        let named = |entry: &Entry| entry.name.clone();
        let entries: Vec<_> = node
            .entries
            .iter()
            .filter_map(|entry| named(entry).map(|name| (name, entry)))
            .collect();
        // Only so many names are known, and a statement with more properties is refused below.
        for (index, (name, entry)) in entries.iter().enumerate().take(MISTAKES_MAX) {
            if let Some((first, _)) = entries[..index].iter().find(|(n, _)| n.text == name.text) {
                self.mistakes.push(
                    Mistake::new(
                        Code::Repeated,
                        name.span,
                        format!("{} is given twice", name.text),
                    )
                    .label("given again")
                    .help("keep one of them")
                    .related(first.span, "given first here"),
                );
            }
            match statement.props.iter().find(|prop| prop.name == &*name.text) {
                Some(prop) => self.value(entry, prop.is),
                None if statement.free_props => {
                    if crate::model::Name::new(&*name.text).is_err() {
                        self.mistakes.push(
                            Mistake::new(
                                Code::BadName,
                                name.span,
                                format!("{:?} is not a name", name.text),
                            )
                            .label("not a name")
                            .help("names match [A-Za-z0-9][A-Za-z0-9._-]*"),
                        );
                    }
                    self.value(entry, Type::Text);
                }
                None => {
                    let mistake = unknown_prop(name, entry, statement);
                    self.mistakes.push(mistake);
                }
            }
        }
        if node.broken {
            return;
        }
        for prop in statement.props.iter().filter(|prop| prop.required) {
            if node.prop(prop.name).is_none() {
                self.mistakes.push(
                    Mistake::new(
                        Code::Missing,
                        node.head(),
                        format!("{} needs {}", titled(node), prop.name),
                    )
                    .label(format!("no {}= given", prop.name))
                    .help(format!(
                        "add {}={}: {}",
                        prop.name,
                        prop_example(prop.is),
                        prop.doc
                    )),
                );
            }
        }
    }

    fn value(&mut self, entry: &Entry, is: Type) {
        if let Err(mistake) = values::check(entry, is) {
            self.mistakes.push(mistake);
        }
    }
}

fn prop_example(is: Type) -> String {
    match is {
        Type::Number(..) => "N".to_owned(),
        other => other
            .example()
            .split(" or ")
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// Returns a statement with its first name, such as `datastore "primary"`.
pub(crate) fn titled(node: &Node) -> String {
    match node.args().next().map(|entry| &entry.value) {
        Some(Value::Text(text)) if text.len() <= 64 && !text.chars().any(char::is_control) => {
            format!("{} \"{text}\"", node.name.text)
        }
        _ => node.name.text.to_string(),
    }
}

/// Returns how a statement is written, such as `to "primary"`.
fn sketch(statement: &Statement) -> String {
    let args = statement
        .args
        .iter()
        .filter(|arg| arg.required)
        .map(|arg| format!(" {}", prop_example(arg.is)));
    std::iter::once(statement.name.to_owned())
        .chain(args)
        .collect()
}

fn lower(doc: &str) -> String {
    let mut chars = doc.trim_end_matches('.').chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn inside(parent: &Statement) -> String {
    if parent.name.is_empty() {
        " in this topology".to_owned()
    } else {
        format!(" in one {}", parent.name)
    }
}

fn unknown(node: &Node, parent: &'static Statement) -> Mistake {
    let name = &*node.name.text;
    let place = if parent.name.is_empty() {
        "at the top of a topology".to_owned()
    } else {
        format!("in a {}", parent.name)
    };
    let near = did_you_mean(name, parent.children.iter().map(|child| child.name));
    let help = if let Some(near) = near {
        format!("did you mean {near}?")
    } else if let Some(prop) = parent.props.iter().find(|prop| prop.name == name) {
        format!(
            "it is a property: write {}={} after the name",
            name,
            prop_example(prop.is)
        )
    } else if let Some(home) = home_of(name) {
        home
    } else {
        let known: Vec<&str> = parent.children.iter().map(|child| child.name).collect();
        format!("known here: {}", known.join(", "))
    };
    Mistake::new(
        Code::UnknownNode,
        node.name.span,
        format!("{} is unknown {place}", shown(name)),
    )
    .label("unknown")
    .help(help)
}

/// Returns a foreign word in a form that is safe and short enough for a message.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.chars().all(|c| c.is_ascii_graphic()) {
        short
    } else {
        format!("{short:?}")
    }
}

/// Says where a statement that is unknown here would be at home.
fn home_of(name: &str) -> Option<String> {
    if TOPOLOGY.child(name).is_some() {
        return Some(format!("{name} belongs to the top of the topology"));
    }
    parents(&TOPOLOGY, name).map(|parent| {
        format!(
            "{name} belongs into the block of {}",
            with_article(parent.name)
        )
    })
}

/// Returns the first statement whose block knows that name.
fn parents(statement: &'static Statement, name: &str) -> Option<&'static Statement> {
    if statement.child(name).is_some() {
        return Some(statement);
    }
    statement
        .children
        .iter()
        .find_map(|child| parents(child, name))
}

/// Returns whether a statement says something the table does not know, so that what
/// seems to be missing may merely be misspelt.
pub(crate) fn says_unknown(node: &Node) -> bool {
    let Some(statement) = TOPOLOGY.child(&node.name.text) else {
        return false;
    };
    let names = node.entries.iter().filter_map(|entry| entry.name.as_ref());
    node.children()
        .iter()
        .any(|child| statement.child(&child.name.text).is_none())
        || names
            .into_iter()
            .any(|name| statement.props.iter().all(|prop| prop.name != &*name.text))
}

fn unknown_prop(name: &super::document::Word, entry: &Entry, statement: &Statement) -> Mistake {
    let near = did_you_mean(&name.text, statement.props.iter().map(|prop| prop.name));
    let help = if let Some(near) = near {
        format!("did you mean {near}=?")
    } else if let Some(child) = statement.child(&name.text) {
        if child.is_switch() {
            format!("write `{}` inside the block", child.name)
        } else {
            format!(
                "it is a statement: write `{}` inside the block",
                sketch(child)
            )
        }
    } else if statement.props.is_empty() {
        format!("{} takes no properties", statement.name)
    } else {
        let known: Vec<&str> = statement.props.iter().map(|prop| prop.name).collect();
        format!("known here: {}", known.join(", "))
    };
    Mistake::new(
        Code::UnknownProperty,
        name.span.to(entry.span),
        format!("{} has no property {}", statement.name, shown(&name.text)),
    )
    .label("unknown")
    .help(help)
}

fn too_many(entry: &Entry, node: &Node, statement: &Statement) -> Mistake {
    let mistake = Mistake::new(
        Code::TooMany,
        entry.span,
        match statement.args.len() {
            0 => format!("{} takes no value", statement.name),
            1 => format!("{} takes one value", statement.name),
            n => format!("{} takes {n} values", statement.name),
        },
    )
    .label("one too many");
    let switch_like = matches!(entry.value, Value::Bool(_))
        || matches!(
            entry.text(),
            Some("yes" | "no" | "on" | "off" | "true" | "false")
        );
    if statement.is_switch() && switch_like {
        return mistake.help(format!(
            "{0} is on by being there: write `{0}` alone, or leave it out",
            statement.name
        ));
    }
    match entry.text() {
        Some(text) if parents(&TOPOLOGY, text).is_some() => mistake.help(format!(
            "if {text} is a statement of its own, put a ; or a new line before it"
        )),
        _ if statement.args.is_empty() && !statement.props.is_empty() => {
            let known: Vec<&str> = statement.props.iter().map(|prop| prop.name).collect();
            mistake.help(format!("its values have names: {}", known.join(", ")))
        }
        _ if statement.free_props => {
            mistake.help("its values have names of your choice: site=\"home\"")
        }
        _ => mistake
            .help(format!("write `{}`", sketch(statement)))
            .label(format!("one more than {} takes", node.name.text)),
    }
}

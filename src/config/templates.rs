//! Nodes take over what their templates say.

use super::codes::Code;
use super::diagnostic::Mistake;
use super::document::{Entry, Node};
use super::schema::TOPOLOGY;

/// How many statements a template may hold.
const STATEMENTS_MAX: usize = 200;
/// How many bytes of template text all nodes together may take over.
const TAKEN_MAX: u64 = 8 << 20;

/// Adds to every node what the templates it uses say and it does not say itself.
///
/// Names that no template has are left for the check of references.
pub(crate) fn expand(nodes: &mut [Node], mistakes: &mut Vec<Mistake>) {
    let templates: Vec<Node> = nodes
        .iter()
        .filter(|node| &*node.name.text == "template")
        .cloned()
        .collect();
    for template in &templates {
        if template.children().len() > STATEMENTS_MAX {
            mistakes.push(
                Mistake::new(
                    Code::Limit,
                    template.head(),
                    format!("a template holds at most {STATEMENTS_MAX} statements"),
                )
                .label("too long"),
            );
            return;
        }
    }
    let mut taken = 0;
    for node in nodes
        .iter_mut()
        .filter(|node| &*node.name.text == "node" && node.children.is_some())
    {
        let used: Vec<&Node> = node
            .all("use")
            .flat_map(|statement| statement.args().filter_map(Entry::text))
            .filter_map(|name| templates.iter().find(|t| t.text(0) == Some(name)))
            .collect();
        let mut children = Vec::new();
        for template in used {
            taken += u64::from(template.span.len);
            if taken > TAKEN_MAX {
                mistakes.push(
                    Mistake::new(
                        Code::Limit,
                        node.head(),
                        "the templates make this topology too large",
                    )
                    .label("takes over too much"),
                );
                return;
            }
            for said in template.children() {
                if adds(node.children(), said) && adds(&children, said) {
                    children.push(said.clone());
                }
            }
        }
        node.children.get_or_insert_default().extend(children);
    }
}

/// Returns whether a statement of a template says something the node leaves open.
fn adds(children: &[Node], said: &Node) -> bool {
    let name = &*said.name.text;
    let repeats = TOPOLOGY
        .child("node")
        .and_then(|node| node.child(name))
        .is_some_and(|statement| statement.repeats);
    // How a node is reached is one question with two answers.
    let reach = |name: &str| matches!(name, "ssh" | "local");
    !children.iter().any(|child| {
        let own = &*child.name.text;
        if repeats {
            own == name && child.text(0) == said.text(0)
        } else {
            own == name || (reach(own) && reach(name))
        }
    })
}

//! Nothing goes in a circle, and nothing refers to itself.

use super::Judge;
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;
use crate::config::document::{Node, Span};
use crate::config::schema::Kind;
use crate::model::topology::{Phase, Reach, Work};

/// What leads from one thing to the next, by place in a list.
type Next = Vec<Option<usize>>;

impl Judge<'_> {
    pub(super) fn order(&mut self) {
        self.phase_circles();
        self.node_circles();
        self.jobs_to_themselves();
    }

    fn phase_circles(&mut self) {
        let phases = &self.topology.phases;
        let index: std::collections::BTreeMap<&str, usize> = phases
            .iter()
            .enumerate()
            .map(|(at, phase)| (phase.name.as_str(), at))
            .collect();
        let after = |phase: &Phase| index.get(phase.after.as_ref()?.as_str()).copied();
        let next: Next = phases.iter().map(after).collect();
        for circle in circles(&next) {
            let names: Vec<&str> = circle.iter().map(|&at| phases[at].name.as_str()).collect();
            let span = self.prop(Kind::Phase, names[0], "after");
            self.circle(
                &names,
                span,
                "phase",
                "waits for",
                "the first phase has no `after`",
            );
        }
    }

    fn node_circles(&mut self) {
        let nodes: Vec<_> = self.topology.nodes.iter().collect();
        let index: std::collections::BTreeMap<&str, usize> = nodes
            .iter()
            .enumerate()
            .map(|(at, (name, _))| (name.as_str(), at))
            .collect();
        let find = |name: Option<&crate::model::Name>| index.get(name?.as_str()).copied();
        let jumps: Next = nodes
            .iter()
            .map(|(_, node)| match &node.reach {
                Reach::Ssh(ssh) => find(ssh.jump.as_ref()),
                Reach::Local => None,
            })
            .collect();
        let hosts: Next = nodes
            .iter()
            .map(|(_, node)| find(node.container.as_ref().map(|c| &c.on)))
            .collect();
        let relations = [
            (
                jumps,
                "ssh",
                "jump",
                "is reached through",
                "one of them is reached directly",
            ),
            (
                hosts,
                "container",
                "on",
                "runs on",
                "one of them is a machine",
            ),
        ];
        for (next, statement, word, verb, help) in relations {
            for circle in circles(&next) {
                let names: Vec<&str> = circle.iter().map(|&at| nodes[at].0.as_str()).collect();
                let span = self.leads(names[0], statement, word);
                self.circle(&names, span, "node", verb, help);
            }
        }
        for (name, node) in nodes {
            if node.dedup_with.as_ref() == Some(name) {
                let span = self.at(Kind::Node, name.as_str(), "dedup-with");
                self.itself(
                    span,
                    &format!("node {:?} shares chunk ids with itself", name.as_str()),
                );
            }
        }
    }

    /// Returns where a node names the next one: in a child or a property of a statement.
    fn leads(&self, node: &str, statement: &str, word: &str) -> Span {
        let said = self
            .node(Kind::Node, node)
            .and_then(|node| node.child(statement));
        let child = said.and_then(|said| said.child(word)).map(Node::head);
        let prop = said.and_then(|said| said.prop(word)).map(|prop| prop.span);
        child
            .or(prop)
            .unwrap_or_else(|| self.head(Kind::Node, node))
    }

    fn jobs_to_themselves(&mut self) {
        let topology = self.topology;
        for (_, job) in topology.jobs() {
            if let Work::Sync { from, to } | Work::Cloud { from, to } = &job.work
                && from == to
            {
                let span = self.at(Kind::Job, job.name.as_str(), "to");
                let message = format!(
                    "{} {:?} copies {:?} to itself",
                    job.work.kind(),
                    job.name.as_str(),
                    to.as_str()
                );
                self.itself(span, &message);
            }
        }
    }

    fn itself(&mut self, span: Span, message: &str) {
        self.mistakes.push(
            Mistake::new(Code::ToItself, span, message)
                .label("is the same one")
                .help("name another one, or leave it out"),
        );
    }

    fn circle(&mut self, names: &[&str], span: Span, kind: &str, verb: &str, help: &str) {
        if let [name] = names {
            return self.itself(span, &format!("{kind} {name:?} {verb} itself"));
        }
        let shown: Vec<&str> = names.iter().take(8).copied().chain([names[0]]).collect();
        self.mistakes.push(
            Mistake::new(
                Code::Cycle,
                span,
                format!("{kind} {:?} {verb} itself in the end", names[0]),
            )
            .label(shown.join(" → "))
            .help(help),
        );
    }
}

/// Returns every circle once, where each thing leads to at most one other.
fn circles(next: &Next) -> Vec<Vec<usize>> {
    // 0: not seen; otherwise the number of the walk that came here first.
    let mut seen = vec![0; next.len()];
    let mut found = Vec::new();
    for start in 0..next.len() {
        let mut path = Vec::new();
        let mut at = Some(start);
        while let Some(here) = at.filter(|&here| seen[here] == 0) {
            seen[here] = start + 1;
            path.push(here);
            at = next[here];
        }
        if let Some(here) = at.filter(|&here| seen[here] == start + 1)
            && let Some(from) = path.iter().position(|&p| p == here)
        {
            found.push(path.split_off(from));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once_and_what_leads_into_it_is_left_out() {
        let next = vec![Some(1), Some(2), Some(1), None, Some(4)];
        assert_eq!(circles(&next), vec![vec![1, 2], vec![4]]);
    }
}

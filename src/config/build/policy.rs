//! The policy, and statements about the past.

use super::{Builder, parsed, said, text_prop};
use crate::config::document::{Entry, Node as Statement};
use crate::model::topology::{Excepted, Moved, Policy, Removed, Waiver};

impl Builder<'_> {
    pub(super) fn policy(&mut self) -> Policy {
        let documents = self.documents;
        let Some(node) = documents
            .nodes
            .iter()
            .find(|node| &*node.name.text == "policy")
        else {
            return Policy::default();
        };
        let count = |name: &str| {
            let statement = node.child(name)?;
            statement.args().next().and_then(Entry::number)
        };
        Policy {
            copies: count("copies"),
            media: count("media"),
            offsite: count("offsite"),
            beyond_reach: count("beyond-reach"),
            rpo: said(node, "rpo"),
            drill_within: said(node, "drill-within"),
            covered: node.child("covered").is_some(),
            excepted: node
                .all("covered")
                .flat_map(|covered| covered.all("except"))
                .map(|except| self.excepted(except))
                .collect(),
            waivers: node
                .all("waive")
                .filter_map(|waive| self.waiver(waive))
                .collect(),
        }
    }

    fn excepted(&self, node: &Statement) -> Excepted {
        let datasets = node.args().filter_map(Entry::text);
        Excepted {
            datasets: datasets.map(str::to_owned).collect(),
            on: parsed(node.prop("on")),
            declared: self.declared(node),
        }
    }

    fn waiver(&self, node: &Statement) -> Option<Waiver> {
        Some(Waiver {
            rule: node.text(0)?.to_owned(),
            until: text_prop(node, "until")?,
            reason: text_prop(node, "reason")?,
            declared: self.declared(node),
        })
    }

    pub(super) fn removed(&mut self) -> Vec<Removed> {
        self.top("removed")
            .filter_map(|node| {
                Some(Removed {
                    address: parsed(node.args().next())?,
                    destroy: node.child("destroy").is_some(),
                    declared: self.declared(node),
                })
            })
            .collect()
    }

    pub(super) fn moved(&mut self) -> Vec<Moved> {
        self.top("moved")
            .filter_map(|node| {
                Some(Moved {
                    from: parsed(node.prop("from"))?,
                    to: parsed(node.prop("to"))?,
                    declared: self.declared(node),
                })
            })
            .collect()
    }

    fn top<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Statement> {
        let nodes = self.documents.nodes.iter();
        nodes.filter(move |node| &*node.name.text == name)
    }
}

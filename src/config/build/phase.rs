//! Phases and their jobs.

use super::{Builder, names_in, parsed, said, texts};
use crate::config::document::Node as Statement;
use crate::config::schema::Kind;
use crate::model::topology::{Job, Phase, Work};

impl Builder<'_> {
    /// Returns the phases in the order of the files.
    pub(super) fn phases(&mut self) -> Vec<Phase> {
        let documents = self.documents;
        documents
            .nodes
            .iter()
            .filter(|node| &*node.name.text == "phase")
            .filter_map(|node| self.phase(node))
            .collect()
    }

    fn phase(&self, node: &Statement) -> Option<Phase> {
        let declared_here = |child: &&Statement| {
            // A job whose name is taken was reported, and the first one counts.
            let name = child.text(0).unwrap_or_default();
            self.names
                .get(Kind::Job, name)
                .is_some_and(|job| job.span == child.span)
        };
        Some(Phase {
            name: parsed(node.args().next())?,
            after: parsed(node.prop("after")),
            jobs: node
                .children()
                .iter()
                .filter(declared_here)
                .filter_map(|child| self.job(child))
                .collect(),
            declared: self.declared(node),
        })
    }

    fn job(&self, node: &Statement) -> Option<Job> {
        Some(Job {
            name: parsed(node.args().next())?,
            work: work(node)?,
            at: said(node, "at"),
            declared: self.declared(node),
        })
    }
}

fn work(node: &Statement) -> Option<Work> {
    Some(match &*node.name.text {
        "backup" => Work::Backup {
            sources: names_in(node, "source"),
            to: names_in(node, "to"),
        },
        "sync" => Work::Sync {
            from: said(node, "from")?,
            to: said(node, "to")?,
        },
        "cloud" => Work::Cloud {
            from: said(node, "from")?,
            to: said(node, "to")?,
        },
        "drill" => Work::Drill {
            sources: names_in(node, "source"),
            from: said(node, "from")?,
            on: said(node, "on"),
            every: said(node, "every"),
            command: texts(node, "command"),
        },
        _ => return None,
    })
}

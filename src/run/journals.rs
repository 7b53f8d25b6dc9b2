//! Lines about jobs in the journals of nodes, beside those of plans.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{JournalLine, Name};
use crate::run::fleet::Fleet;
use crate::run::link::Hands;
use crate::run::message::Fault;
use crate::run::node::NodeCall;

/// Writes to the journals of nodes without holding their locks: a job does not wait for another.
#[derive(Debug)]
pub struct Journals<'a> {
    fleet: &'a Fleet,
    hands: Mutex<BTreeMap<Name, Arc<Hands>>>,
}

impl<'a> Journals<'a> {
    /// Starts with no node reached.
    pub fn new(fleet: &'a Fleet) -> Self {
        Self {
            fleet,
            hands: Mutex::default(),
        }
    }

    /// Appends a line to a node's journal and makes it durable.
    ///
    /// Where bkpctl itself runs, outside any node, there is no journal.
    pub fn append(&self, node: &Name, line: &JournalLine) -> Result<(), Fault> {
        if !self.fleet.topology.nodes.contains_key(node) {
            return Ok(());
        }
        let call = NodeCall::Journal {
            folder: self.fleet.state_folder(node)?,
            line: line.text(),
        };
        self.hands(node)?.ask(call).map(drop)
    }

    fn hands(&self, node: &Name) -> Result<Arc<Hands>, Fault> {
        let mut all = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hands) = all.get(node) {
            return Ok(Arc::clone(hands));
        }
        let hands = Arc::new(self.fleet.free_hands(node)?);
        all.insert(node.clone(), Arc::clone(&hands));
        Ok(hands)
    }
}

//! What is to be carried out, and how: a plan, how its actions stand, what was allowed.

use std::collections::BTreeSet;

use crate::model::{Name, Timestamp};
use crate::plan::Plan;
use crate::plan::readiness::Readiness;
use crate::run::Cancel;

/// An order to carry a plan out.
#[derive(Debug)]
pub struct Order<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The id under which it is carried out, once.
    pub id: String,
    /// How each of its actions stands now, by its id.
    pub readiness: Vec<Readiness>,
    /// The gates that were said yes to.
    pub allowed: Vec<String>,
    /// When the state was seen that the readiness was judged by.
    pub looked: Timestamp,
    /// Who carries it out.
    pub holder: String,
    /// Whether it goes on with what was begun under this id before, and on which nodes that was.
    pub resumes: Option<BTreeSet<Name>>,
    /// How much is done at a time.
    pub limits: Limits,
}

/// How much is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many actions run at the same time.
    pub at_once: usize,
    /// How many actions write to one disk at the same time.
    pub writers_per_disk: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 10,
            writers_per_disk: 1,
        }
    }
}

/// A request to stop, in two steps.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Nothing more is begun; what runs comes to its end.
    pub drain: Cancel,
    /// What runs stops at the next good place.
    pub abort: Cancel,
}

impl Stop {
    /// Tells whether anybody asked to stop.
    pub fn is_asked(&self) -> bool {
        self.drain.is_cancelled() || self.abort.is_cancelled()
    }
}

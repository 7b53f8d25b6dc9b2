//! A plan in a file: which one it is, what it was made from, and whether it is whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, lint};

/// The version of a saved plan's JSON form; a reader refuses others.
pub const SAVED_PLAN_FORMAT: u32 = 1;

/// A plan in a file, for `bkpctl apply FILE`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SavedPlan {
    /// The version of this form, see [`SAVED_PLAN_FORMAT`].
    pub format: u32,
    /// BLAKE3 in hex of everything else in here, as compact JSON; a plan is carried out once.
    pub id: String,
    /// The version of bkpctl that made it.
    pub version: String,
    /// The commit that its topology's files were taken from, if they are in a git repository.
    pub commit: Option<Commit>,
    /// BLAKE3 in hex of the topology, as compact JSON.
    pub topology_hash: String,
    /// The plan.
    pub plan: Plan,
}

/// Where a topology's files stand in git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// The commit's id in hex.
    pub id: String,
    /// Whether files of the topology's folder differed from it.
    pub dirty: bool,
}

impl SavedPlan {
    /// Gives a plan its id.
    pub fn new(plan: Plan, version: &str, commit: Option<Commit>) -> Self {
        let mut saved = Self {
            format: SAVED_PLAN_FORMAT,
            id: String::new(),
            version: version.to_owned(),
            commit,
            topology_hash: hash(&plan.topology),
            plan,
        };
        saved.id = saved.expected_id();
        saved
    }

    fn expected_id(&self) -> String {
        let mut all = serde_json::to_value(self).expect("a plan always serialises");
        if let Some(fields) = all.as_object_mut() {
            fields.remove("id");
        }
        hash(&all)
    }

    /// Returns what is wrong with it, in words; nothing if it is whole and sound.
    pub fn lint(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.id != self.expected_id() {
            problems.push(
                "it was changed after it was saved: its id is not that of its content".to_owned(),
            );
        }
        if self.topology_hash != hash(&self.plan.topology) {
            problems.push("its topology is not the one that it was made from".to_owned());
        }
        problems.extend(lint(&self.plan));
        problems
    }
}

fn hash(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("names, numbers and texts always serialise");
    blake3::hash(&json).to_hex().to_string()
}

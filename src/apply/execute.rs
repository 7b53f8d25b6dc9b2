//! From a plan to the world: each step is handed to whoever can do it, nothing is decided.

use crate::apply::outcome::{Observer, Outcome};
use crate::apply::schedule::run_all;
use crate::model::journal::Event;
use crate::model::{ByteSize, JournalLine, Name};
use crate::plan::Plan;
use crate::plan::change::{Action, Step};
use crate::run::Cancel;
use crate::run::fleet::Fleet;
use crate::run::job::Progress;
use crate::run::message::Fault;
use crate::run::node::{NodeCall, NodeReply};
use crate::run::{backup, drill, here, keys, repository, sync};

/// Carries out every action of a plan that is not put off.
///
/// The caller has asked for every gate already. Actions that need one that failed are
/// skipped, all others go on; each is written to its node's journal before and after.
pub fn apply(plan: &Plan, fleet: &Fleet, observer: &dyn Observer, cancel: &Cancel) -> Outcome {
    run_all(plan, observer, cancel, &|action| {
        let entry = Entry {
            plan,
            action,
            fleet,
        };
        if !entry.comes_before_the_agent() {
            entry.line(Event::Begin, None)?;
        }
        let result = carry_out(action, fleet, observer, cancel);
        let written = match &result {
            Ok(words) => entry.line(Event::Done, Some(words)),
            Err(fault) => entry.line(Event::Failed, Some(&fault.message)),
        };
        // What was done is done, also where it could not be written down.
        if let Err(fault) = written {
            let words = format!("the journal could not be written: {}", fault.message);
            observer.note(&action.node, &words);
        }
        result
    })
}

fn carry_out(
    action: &Action,
    fleet: &Fleet,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<String, Fault> {
    let progress = |progress: Progress| observer.progress(action.id, progress);
    let node = &action.node;
    match &action.step {
        Step::CreateKey { key } => keys::create(fleet, key),
        Step::PlaceBinary { hash, folder } => fleet.place_binary(node, hash, folder),
        Step::MakeFolder {
            path,
            uid,
            gid,
            mode,
        } => {
            let call = NodeCall::MakeFolder {
                path: path.clone(),
                uid: *uid,
                gid: *gid,
                mode: *mode,
            };
            change(fleet, node, call, || {
                format!("{path} {uid}:{gid} {mode:04o}")
            })
        }
        Step::SetOwner {
            path,
            uid,
            gid,
            recursive,
            ..
        } => {
            let call = NodeCall::SetOwner {
                path: path.clone(),
                uid: *uid,
                gid: *gid,
                recursive: *recursive,
            };
            change(fleet, node, call, || format!("{path} {uid}:{gid}"))
        }
        Step::SetMode { path, mode } => {
            let call = NodeCall::SetMode {
                path: path.clone(),
                mode: *mode,
            };
            change(fleet, node, call, || format!("{path} {mode:04o}"))
        }
        Step::SetQuota { dataset, quota } => {
            let call = NodeCall::SetQuota {
                dataset: dataset.clone(),
                bytes: quota.0,
            };
            change(fleet, node, call, || {
                format!("{dataset} holds at most {quota}")
            })
        }
        Step::Export { file, content, was } => {
            let call = NodeCall::Export {
                file: file.clone(),
                content: content.clone(),
                was: was.clone(),
            };
            change(fleet, node, call, || {
                format!("{file} written and read by the NFS server")
            })
        }
        Step::Mount {
            path,
            file,
            content,
            was,
            ..
        } => {
            let call = NodeCall::Mount {
                file: file.clone(),
                content: content.clone(),
                was: was.clone(),
            };
            change(fleet, node, call, || format!("mounted at {path} by {file}"))
        }
        Step::MakeRepository { datastore } => repository::create(fleet, datastore),
        Step::WriteManaged { datastore, managed } => {
            repository::write_managed(fleet, datastore, managed)
        }
        Step::Register { registry } => {
            let content = serde_json::to_string_pretty(registry)
                .map_err(|e| Fault::refused(format!("the registry can't be written: {e}")))?;
            let call = NodeCall::WriteState {
                folder: fleet.state_folder(node)?,
                name: "registry.json".to_owned(),
                content,
            };
            change(fleet, node, call, || "registry written".to_owned())
        }
        Step::Copy {
            source, datastore, ..
        } => {
            let report = backup::backup(fleet, source, datastore, &progress, cancel)?;
            // What needs a complete copy must not go on with this one.
            backup::incomplete(&report).map_or_else(|| Ok(backup::words(&report)), Err)
        }
        Step::Sync {
            from, to, sources, ..
        } => {
            let report = sync::sync(fleet, from, to, Some(sources), &progress, cancel)?;
            Ok(sync::words(&report))
        }
        Step::Drill {
            job,
            source,
            from,
            scratch,
        } => {
            let order = drill::Order {
                drill: job,
                source,
                from,
                node,
                scratch: scratch.as_deref(),
            };
            let report = drill::drill(fleet, &order, &progress, cancel)?;
            Ok(format!(
                "restored and compared {} entries, {}",
                report.files,
                ByteSize(report.bytes)
            ))
        }
    }
}

fn change(
    fleet: &Fleet,
    node: &Name,
    call: NodeCall,
    words: impl Fn() -> String,
) -> Result<String, Fault> {
    match fleet.hands(node)?.ask(call)? {
        NodeReply::Changed(1) => Ok(format!("{}, 1 entry changed", words())),
        NodeReply::Changed(n) => Ok(format!("{}, {n} entries changed", words())),
        NodeReply::Done | NodeReply::Text(_) => Ok(words()),
    }
}

/// One action's lines in its node's journal.
struct Entry<'a> {
    plan: &'a Plan,
    action: &'a Action,
    fleet: &'a Fleet,
}

impl Entry<'_> {
    /// Returns whether the action makes the journal possible in the first place.
    fn comes_before_the_agent(&self) -> bool {
        matches!(self.action.step, Step::PlaceBinary { .. })
    }

    fn line(&self, event: Event, words: Option<&str>) -> Result<(), Fault> {
        // Actions where bkpctl itself runs, outside any node, leave no journal.
        if !self.plan.topology.nodes.contains_key(&self.action.node) {
            return Ok(());
        }
        let words = words.unwrap_or(&self.action.after_words);
        let line = JournalLine {
            plan: Some(self.plan.digest.clone()),
            action: Some(self.action.id),
            address: Some(self.action.address.clone()),
            ..JournalLine::new(here::now(), event, words)
        };
        let folder = self.fleet.state_folder(&self.action.node)?;
        let call = NodeCall::Journal {
            folder,
            line: line.text(),
        };
        self.fleet.hands(&self.action.node)?.ask(call).map(drop)
    }
}

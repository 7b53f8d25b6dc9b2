//! From a plan to the world: each step is handed to whoever can do it, nothing is decided.

use crate::apply::order::{Order, Stop};
use crate::apply::outcome::{Observer, Outcome};
use crate::apply::record::Record;
use crate::apply::schedule::run_all;
use crate::model::{ByteSize, Name};
use crate::plan::change::{Action, Step};
use crate::run::Cancel;
use crate::run::fleet::Fleet;
use crate::run::job::Progress;
use crate::run::message::Fault;
use crate::run::node::{NodeCall, NodeReply};
use crate::run::{backup, drill, keys, repository, sync};

/// Carries out every action of a plan that is ready.
///
/// The caller has asked for every gate already. Actions that need one that failed are
/// skipped, all others go on; each is written to its node's journal before and after.
///
/// # Errors
///
/// Nothing was begun: another apply holds a node, or the plan was carried out before.
pub fn apply(
    order: &Order<'_>,
    fleet: &Fleet,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<Outcome, Fault> {
    let record = Record::open(order, fleet)?;
    observer.locked(&record.locked());
    let outcome = run_all(order, observer, stop, &|action| {
        record.begin(action)?;
        let result = carry_out(action, fleet, observer, &stop.abort);
        // What was done is done, also where it could not be written down.
        if let Err(fault) = record.end(action, &result) {
            let words = format!("the journal could not be written: {}", fault.message);
            observer.note(&action.node, &words);
        }
        result
    });
    record.close(&outcome, observer);
    Ok(outcome)
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
        Step::DestroyRepository {
            datastore,
            path,
            repository,
        } => {
            let call = NodeCall::DestroyRepository {
                folder: path.clone(),
                topology: fleet.topology.id.clone(),
                object: datastore.clone(),
                repository: repository.clone(),
            };
            match fleet.hands(node)?.ask(call)? {
                NodeReply::Text(words) => Ok(words),
                _ => Ok(format!("nothing is left in {path}")),
            }
        }
        Step::Withdraw { file, was } => {
            let call = NodeCall::Withdraw {
                file: file.clone(),
                was: was.clone(),
            };
            change(fleet, node, call, || format!("{file} is gone"))
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
        NodeReply::Done | NodeReply::Text(_) | NodeReply::Plans(_) => Ok(words()),
    }
}

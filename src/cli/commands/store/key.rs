//! `bkpctl store key`: the ways into a repository.

use std::io::IsTerminal;
use std::path::Path;

use serde_json::json;
use zeroize::Zeroizing;

use super::engine;
use super::open::{Secret, open_store, reader, secret};
use crate::cli::args::StoreKey as Verb;
use crate::cli::commands::key::write_sheet;
use crate::cli::commands::snapshots::aligned;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::sheet;
use crate::engine::crypto::ArgonCost;
use crate::engine::store::StoreName;
use crate::engine::{EngineError, Repository, Slot, slots, unlock};
use crate::model::ByteSize;

const NEW_PASSPHRASE: &str = "BKPCTL_NEW_PASSPHRASE";
/// What revoking cannot do.
const KEPT: &str = "whoever opened the repository with it may have kept the key, which stays the same; only a repository with a new key shuts them out; copies of the repository have slots of their own";

/// Does what the verb says.
pub(super) fn run(context: &Context, verb: &Verb) -> Outcome {
    match verb {
        Verb::List { store, json } => list(context, store, *json),
        Verb::Add {
            store,
            secret: args,
        } => add(context, store, &secret(args, false)?, args.json),
        Verb::Revoke {
            store,
            slot,
            secret: args,
        } => revoke(context, store, slot, &secret(args, false)?, args.json),
        Verb::ChangePassphrase { store, json } => change(context, store, *json),
        Verb::Recovery {
            store,
            sheet,
            secret: args,
        } => recovery(context, store, sheet.as_deref(), &secret(args, false)?),
    }
}

fn list(context: &Context, store: &Path, json: bool) -> Outcome {
    let opened = open_store(store)?;
    let found = slots(opened.as_ref()).map_err(engine)?;
    if json {
        let listed: Vec<_> = found.iter().map(describe).collect();
        context.print_json(&json!({ "slots": listed }))?;
    } else if found.is_empty() {
        context.print("There are no key slots: the key file or its recovery code opens it.");
    } else {
        context.print(&table(&found));
    }
    Ok(if found.iter().all(|slot| slot.state.is_ok()) {
        Exit::Ok
    } else {
        Exit::Error
    })
}

fn describe(slot: &Slot) -> serde_json::Value {
    let cost = slot.state.as_ref().ok();
    json!({
        "id": slot.id(),
        "kind": "passphrase",
        "memory_kib": cost.map(|cost| cost.memory_kib),
        "passes": cost.map(|cost| cost.passes),
        "damage": slot.state.as_ref().err(),
    })
}

fn table(slots: &[Slot]) -> String {
    let mut rows = vec![["slot", "opened by", "a guess costs"].map(str::to_owned)];
    for slot in slots {
        let cost = match &slot.state {
            Ok(cost) => format!(
                "{}, {} passes",
                ByteSize(u64::from(cost.memory_kib) << 10),
                cost.passes
            ),
            Err(reason) => reason.clone(),
        };
        rows.push([slot.id().to_owned(), "passphrase".to_owned(), cost]);
    }
    aligned(&rows)
}

fn add(context: &Context, store: &Path, key: &Secret, json: bool) -> Outcome {
    let repository = reader(store, key)?;
    let passphrase = new_passphrase()?;
    let name = repository
        .add_slot(passphrase.as_bytes(), ArgonCost::default())
        .map_err(engine)?;
    tell(context, json, &json!({ "added": id(&name) }), || {
        format!(
            "The passphrase opens {} now, slot {}.",
            store.display(),
            id(&name)
        )
    })
}

fn revoke(context: &Context, store: &Path, slot: &str, key: &Secret, json: bool) -> Outcome {
    let repository = reader(store, key)?;
    let key_is_elsewhere = matches!(key, Secret::File(_));
    let name = repository
        .revoke_slot(slot, key_is_elsewhere)
        .map_err(slot_failed)?;
    context.warn(KEPT);
    tell(context, json, &json!({ "revoked": id(&name) }), || {
        format!("Slot {} is gone.", id(&name))
    })
}

fn change(context: &Context, store: &Path, json: bool) -> Outcome {
    let old = std::env::var("BKPCTL_PASSPHRASE")
        .ok()
        .filter(|value| !value.is_empty())
        .map(Zeroizing::new);
    let old = match old {
        Some(old) => old,
        None => ask("Passphrase: ", "BKPCTL_PASSPHRASE")?,
    };
    let opened = open_store(store)?;
    let (_, slot) = unlock(opened.as_ref(), old.as_bytes()).map_err(engine)?;
    drop(opened);
    let repository = reader(store, &Secret::Passphrase(old))?;
    let new = new_passphrase()?;
    let added = changed(&repository, &slot, &new)?;
    context.warn(&format!("of the old passphrase: {KEPT}"));
    let value = json!({ "added": id(&added), "revoked": id(&slot) });
    tell(context, json, &value, || {
        format!(
            "The new passphrase opens {}, slot {}; the old one does not any more.",
            store.display(),
            id(&added)
        )
    })
}

fn changed(repository: &Repository, old: &StoreName, new: &str) -> Result<StoreName, Failure> {
    repository
        .change_passphrase(old, new.as_bytes(), ArgonCost::default())
        .map_err(engine)
}

fn recovery(context: &Context, store: &Path, sheet: Option<&Path>, key: &Secret) -> Outcome {
    // A log of a CI job would keep the key for ever.
    if sheet.is_none() && !std::io::stdout().is_terminal() {
        return Err(Failure::new(
            "the recovery sheet holds the whole key and is shown on a terminal only",
        )
        .help("--sheet FILE writes it to a file: print that, then remove it"));
    }
    let repository = reader(store, key)?;
    let reading_key = repository
        .reading_key()
        .ok_or_else(|| Failure::new("the repository was opened without its key"))?;
    let text = sheet::for_store(store, reading_key);
    match sheet {
        Some(path) => {
            write_sheet(path, &text)?;
            context.print(&format!(
                "The sheet is {}: print it, put it away, and remove the file.",
                path.display()
            ));
        }
        None => context.print(&text),
    }
    Ok(Exit::Ok)
}

fn tell(
    context: &Context,
    json: bool,
    value: &serde_json::Value,
    words: impl FnOnce() -> String,
) -> Outcome {
    if json {
        context.print_json(value)?;
    } else {
        context.print(&words());
    }
    Ok(Exit::Ok)
}

/// Returns a slot's id from its file's name.
fn id(name: &StoreName) -> &str {
    let file = name.file_name();
    file.split_once('-').map_or(file, |(_, id)| id)
}

fn slot_failed(error: EngineError) -> Failure {
    let help = match &error {
        EngineError::LastSlot => {
            "add another passphrase first, or prove with --key-file that the key is not lost"
        }
        EngineError::NoSuchSlot(_) => {
            "bkpctl store key list STORE shows them; four digits of an id are enough"
        }
        _ => return engine(error),
    };
    engine(error).help(help)
}

/// Returns the new passphrase: from its variable, or typed twice on a terminal.
fn new_passphrase() -> Result<Zeroizing<String>, Failure> {
    if let Ok(passphrase) = std::env::var(NEW_PASSPHRASE)
        && !passphrase.is_empty()
    {
        return Ok(Zeroizing::new(passphrase));
    }
    let first = ask("New passphrase: ", NEW_PASSPHRASE)?;
    let second = ask("Once more: ", NEW_PASSPHRASE)?;
    if *first == *second {
        Ok(first)
    } else {
        Err(Failure::new(
            "the two are not the same; nothing was changed",
        ))
    }
}

fn ask(prompt: &str, variable: &str) -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("there is no terminal to type a passphrase on")
            .help(format!("set {variable}")));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|e| Failure::new(format!("failed to read the passphrase: {e}")))
}

//! Repositories by path, and the keys that open them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{engine, failure};
use crate::cli::args;
use crate::cli::exit::Failure;
use crate::engine::crypto::{ArgonCost, PassphraseSlot, ReadingKey};
use crate::engine::env::Env;
use crate::engine::store::Store;
use crate::engine::{Access, CreateOptions, Repository, unlock};
use crate::run::{here, keys};

/// What opens a repository.
pub(super) enum Secret {
    /// A key file.
    File(PathBuf),
    /// A passphrase for one of the repository's slots.
    Passphrase(Zeroizing<String>),
}

/// Finds the secret: the option, then the two variables.
pub(super) fn secret(args: &args::Secret, new: bool) -> Result<Secret, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(file) = args
        .key_file
        .clone()
        .or_else(|| variable("BKPCTL_KEY_FILE").map(PathBuf::from))
    {
        return Ok(Secret::File(file));
    }
    if let Some(passphrase) = variable("BKPCTL_PASSPHRASE") {
        return Ok(Secret::Passphrase(Zeroizing::new(passphrase)));
    }
    let what = if new {
        "to seal the repository for"
    } else {
        "to open the repository with"
    };
    Err(Failure::new(format!("there is no key {what}"))
        .help("name a key file with --key-file or BKPCTL_KEY_FILE, or set BKPCTL_PASSPHRASE"))
}

fn text(store: &Path) -> Result<&str, Failure> {
    store
        .to_str()
        .ok_or_else(|| Failure::new(format!("{} is no UTF-8 path", store.display())))
}

/// Opens the files of a repository.
pub(super) fn open_store(store: &Path) -> Result<Arc<dyn Store>, Failure> {
    here::open_directory(text(store)?, None).map_err(failure)
}

/// Opens the files of a repository, or makes one of the same key domain as another.
pub(super) fn open_or_create_like(
    store: &Path,
    like: &dyn Store,
) -> Result<Arc<dyn Store>, Failure> {
    if store.join("bkpctl.json").exists() {
        return open_store(store);
    }
    let made = here::create_directory(text(store)?, None).map_err(failure)?;
    Repository::create_like(made.as_ref(), &Env::system(), &here::machine_id(), like)
        .map_err(engine)?;
    drop(made);
    open_store(store)
}

/// Opens a repository with the right to read everything.
pub(super) fn reader(store: &Path, secret: &Secret) -> Result<Repository, Failure> {
    let opened = open_store(store)?;
    let key = match secret {
        Secret::File(file) => keys::read_file(file)
            .map_err(failure)?
            .ok_or_else(|| Failure::new(format!("there is no key file at {}", file.display())))?,
        Secret::Passphrase(passphrase) => {
            unlock(opened.as_ref(), passphrase.as_bytes())
                .map_err(engine)?
                .0
        }
    };
    Repository::open(opened, Env::system(), Access::Reader(key)).map_err(engine)
}

/// Opens a repository with a key if there is one, else without.
pub(super) fn with_or_without_key(
    store: &Path,
    args: &args::Secret,
) -> Result<(Repository, Option<Secret>), Failure> {
    let key = secret(args, false).ok();
    let repository = match &key {
        Some(key) => reader(store, key)?,
        None => {
            Repository::open(open_store(store)?, Env::system(), Access::Keyless).map_err(engine)?
        }
    };
    Ok((repository, key))
}

/// Makes a repository; a key file that does not exist is made too.
pub(super) fn create(store: &Path, secret: &Secret) -> Result<String, Failure> {
    let env = Env::system();
    let path = text(store)?;
    if store.join("bkpctl.json").exists() {
        return Err(Failure::new(format!(
            "there is a repository at {path} already"
        )));
    }
    let (options, words) = match secret {
        Secret::File(file) => {
            let (key, made) = match keys::read_file(file).map_err(failure)? {
                Some(key) => (key, ""),
                None => (
                    keys::create_file(file).map_err(failure)?,
                    ", which was made now: keep a copy of it elsewhere",
                ),
            };
            let words = format!("sealed for the key in {}{made}", file.display());
            (CreateOptions::for_key(&here::machine_id(), &key), words)
        }
        Secret::Passphrase(passphrase) => {
            let key = ReadingKey::generate(&env).map_err(|e| Failure::new(e.to_string()))?;
            let slot =
                PassphraseSlot::wrap(&env, &key, passphrase.as_bytes(), ArgonCost::default())
                    .map_err(|e| Failure::new(e.to_string()))?;
            let mut options = CreateOptions::for_key(&here::machine_id(), &key);
            options.slots.push(slot);
            (
                options,
                "opened by the passphrase: without it, nothing can be read".to_owned(),
            )
        }
    };
    let made = here::create_directory(path, None).map_err(failure)?;
    Repository::create(made.as_ref(), &env, &options).map_err(engine)?;
    Ok(format!("A repository was made at {path}, {words}."))
}

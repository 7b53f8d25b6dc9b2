//! Reading keys where bkpctl runs: their files, and whether their sheets were confirmed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::engine::crypto::{KeyFile, ReadingKey, RecoveryCode};
use crate::engine::disk::{Disk, RealDisk};
use crate::engine::env::Env;
use crate::model::observed::KeyState;
use crate::model::{Name, Topology};
use crate::run::fleet::Fleet;
use crate::run::here::expand_home;
use crate::run::message::Fault;

/// The largest key file that is read, in bytes.
const KEY_FILE_LEN_MAX: u64 = 64 << 10;

/// Returns where a declared key's file is.
pub fn path(topology: &Topology, key: &str) -> Result<PathBuf, Fault> {
    let declared = topology
        .keys
        .get(key)
        .ok_or_else(|| Fault::refused(format!("no key is called {key}")))?;
    expand_home(&declared.file)
}

/// Looks at the file of every declared key.
pub fn look(topology: &Topology) -> BTreeMap<Name, KeyState> {
    topology
        .keys
        .keys()
        .map(|name| (name.clone(), state(topology, name)))
        .collect()
}

fn state(topology: &Topology, name: &Name) -> KeyState {
    let file = match path(topology, name) {
        Ok(file) => file,
        Err(fault) => return KeyState::Unusable(fault.message),
    };
    match read_file(&file) {
        Ok(Some(key)) => KeyState::Present {
            domain: key.domain().to_string(),
            // The note names its key: one about an earlier key says nothing about this one.
            recovery_confirmed: fs::read_to_string(confirmation(&file))
                .is_ok_and(|noted| noted.trim() == key.domain().to_string()),
        },
        Ok(None) => KeyState::Missing,
        Err(fault) => KeyState::Unusable(fault.message),
    }
}

/// Reads a declared key.
pub fn read(topology: &Topology, name: &str) -> Result<ReadingKey, Fault> {
    let file = path(topology, name)?;
    read_file(&file)?.ok_or_else(|| {
        Fault::refused(format!(
            "there is no reading key at {}; what was sealed for it opens with nothing else: put the file back from its copy, or make it from the recovery sheet with: bkpctl key recover CODE-FILE {}",
            file.display(),
            file.display()
        ))
    })
}

/// Reads a key file; `None` if there is none. A file that others may read is refused.
pub fn read_file(file: &Path) -> Result<Option<ReadingKey>, Fault> {
    let failed = |e: &io::Error| Fault::io(&format!("read the key {}", file.display()), e);
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mode = opened.metadata().map_err(|e| failed(&e))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Fault::refused(format!(
            "the key {} may be read by others (mode {mode:04o}); make it yours alone with: chmod 600 {}",
            file.display(),
            file.display()
        )));
    }
    let mut text = Zeroizing::new(String::new());
    opened
        .take(KEY_FILE_LEN_MAX)
        .read_to_string(&mut text)
        .map_err(|e| failed(&e))?;
    KeyFile::parse(&text)
        .map(Some)
        .map_err(|error| Fault::refused(format!("the key {}: {error}", file.display())))
}

/// Makes a new key in a file that does not exist.
pub fn create_file(file: &Path) -> Result<ReadingKey, Fault> {
    let key = ReadingKey::generate(&Env::system())
        .map_err(|error| Fault::refused(format!("failed to make a key: {error}")))?;
    let failed = |e: &io::Error| Fault::io(&format!("write the key {}", file.display()), e);
    let parent = file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(|e| failed(&e))?;
    publish(file, parent, KeyFile::print(&key).as_bytes()).map_err(|e| failed(&e))?;
    Ok(key)
}

/// Makes a file that must not exist, whole or not at all: half a key file would stand in the
/// way of the next try.
fn publish(file: &Path, parent: &Path, bytes: &[u8]) -> io::Result<()> {
    let disk = RealDisk::default();
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temp = file.with_file_name(name);
    // Only a process of our number that is gone can have left this.
    drop(disk.remove(&temp));
    let written = disk.create(&temp).and_then(|mut opened| {
        opened.write(bytes)?;
        opened.sync()?;
        disk.publish(&temp, file)
    });
    if let Err(error) = written {
        drop(disk.remove(&temp));
        return Err(error);
    }
    disk.sync_folder(parent)
}

/// Makes a declared key for a demonstration; anywhere else only `key new` makes keys.
pub fn create(fleet: &Fleet, name: &Name) -> Result<String, Fault> {
    let declared = fleet.topology.keys.get(name);
    if !declared.is_some_and(|key| key.create) {
        return Err(Fault::refused(format!(
            "key {name} may only be made by: bkpctl key new {name}"
        )));
    }
    let file = path(&fleet.topology, name)?;
    let key = create_file(&file)?;
    Ok(format!(
        "{} · only copy, for demonstration · domain {:.12}",
        file.display(),
        key.domain().to_string()
    ))
}

/// Notes that the recovery sheet of a key was kept, if the code on it is the key's own.
pub fn confirm(topology: &Topology, name: &str, code: &str) -> Result<(), Fault> {
    let key = read(topology, name)?;
    let typed = RecoveryCode::parse(code)
        .map_err(|error| Fault::refused(format!("that is not the code on the sheet: {error}")))?;
    if typed.domain() != key.domain() {
        return Err(Fault::refused(format!(
            "that is the code of another key than {name}"
        )));
    }
    let file = confirmation(&path(topology, name)?);
    super::node::replace_file(&file, format!("{}\n", key.domain()).as_bytes(), 0o600)
        .map_err(|e| Fault::io(&format!("write {}", file.display()), &e))
}

/// Returns the note about an earlier key's sheet, if a key of this file was in use before.
pub fn trace_of_earlier(file: &Path) -> Option<PathBuf> {
    Some(confirmation(file)).filter(|note| note.exists())
}

/// Returns the file beside a key that says that its sheet was confirmed.
fn confirmation(key_file: &Path) -> PathBuf {
    let mut name = key_file.file_name().unwrap_or_default().to_owned();
    name.push(".sheet-confirmed");
    key_file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep/lab.key");
        assert!(read_file(&file).expect("no error").is_none());
        let key = create_file(&file).expect("a new key");
        let again = read_file(&file).expect("readable").expect("it is there");
        assert_eq!(again.domain(), key.domain());
        assert!(create_file(&file).is_err(), "a key is never overwritten");
        let names = fs::read_dir(folder.path().join("deep")).expect("a folder");
        assert_eq!(names.count(), 1, "nothing else is left there");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
        let refused = read_file(&file).expect_err("others may read it");
        assert!(refused.message.contains("chmod 600"), "{}", refused.message);
    }
}

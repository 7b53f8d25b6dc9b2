//! Changes of what this machine exports and mounts, by files of the system and its own programs.
//!
//! A file is replaced in one step, and only if it holds what the plan saw. If the system does
//! not take it, the file that was there comes back.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::command::{Program, Surroundings};
use super::message::Fault;
use super::node::{NodeReply, replace_file};
use crate::model::system_files::{EXPORTS_FOLDER, UNITS_FOLDER};
use crate::run::Cancel;

/// How long a program of the system may take; a mount gives up before.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The most that a program's output is read.
const OUTPUT_MAX: u64 = 65_536;

/// The most of a file that is compared.
const FILE_MAX: u64 = 1 << 20;

/// A file of the system, as it is to be and as the plan saw it.
#[derive(Debug, Clone, Copy)]
pub struct SystemFile<'a> {
    path: &'a Path,
    content: &'a str,
    was: Option<&'a str>,
}

impl<'a> SystemFile<'a> {
    /// Names a file with its content, and the content that it replaces.
    pub fn new(path: &'a str, content: &'a str, was: Option<&'a str>) -> Self {
        Self {
            path: Path::new(path),
            content,
            was,
        }
    }

    /// Returns the file's name, if it is one of that folder and ends so.
    fn name_in(&self, folder: &str, ending: &str) -> Result<&'a str, Fault> {
        let parent = self.path.parent() == Some(Path::new(folder));
        let name = self.path.file_name().and_then(|name| name.to_str());
        let is_one = |name: &&str| parent && name.ends_with(ending) && !name.starts_with('.');
        name.filter(is_one).ok_or_else(|| {
            Fault::refused(format!(
                "{} is no file *{ending} of {folder}",
                self.path.display()
            ))
        })
    }

    /// Writes the file, if it still holds what the plan saw.
    fn write(&self) -> Result<(), Fault> {
        let shown = self.path.display();
        let found = read(self.path).map_err(|e| Fault::io(&format!("read {shown}"), &e))?;
        // How many line breaks end a text is not told apart: the probe does not see it.
        let plain = |text: Option<&str>| text.map(|text| text.trim_end_matches('\n').to_owned());
        let found = plain(found.as_deref());
        if found != plain(self.was) && found != plain(Some(self.content)) {
            return Err(Fault::stale(format!(
                "{shown} has changed since the plan was made; nothing was written"
            )));
        }
        self.put(Some(self.content))
    }

    /// Tells whether the file is gone already.
    ///
    /// # Errors
    ///
    /// It holds something else than the plan saw.
    fn is_gone(&self) -> Result<bool, Fault> {
        let shown = self.path.display();
        let found = read(self.path).map_err(|e| Fault::io(&format!("read {shown}"), &e))?;
        let plain = |text: &str| text.trim_end_matches('\n').to_owned();
        match found {
            None => Ok(true),
            Some(text) if plain(&text) == plain(self.content) => Ok(false),
            Some(_) => Err(Fault::stale(format!(
                "{shown} has changed since the plan was made; it was left alone"
            ))),
        }
    }

    /// Brings back what was there.
    fn restore(&self) -> Result<(), Fault> {
        self.put(self.was)
    }

    fn put(&self, content: Option<&str>) -> Result<(), Fault> {
        let shown = self.path.display();
        let result = match content {
            Some(text) => replace_file(self.path, text.as_bytes(), 0o644),
            None => match fs::remove_file(self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        result.map_err(|e| Fault::io(&format!("write {shown}"), &e))
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Sets the quota of a ZFS dataset.
pub(super) fn set_quota(dataset: &str, bytes: u64) -> Result<NodeReply, Fault> {
    // A name that begins with a dash would be taken for an option.
    if !dataset.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(Fault::refused(format!("{dataset:?} is no ZFS dataset")));
    }
    run(&["zfs", "set", &format!("quota={bytes}"), dataset])?;
    Ok(NodeReply::Done)
}

/// Writes a file of exports and has the NFS server read all of them.
pub(super) fn export(file: &SystemFile<'_>) -> Result<NodeReply, Fault> {
    file.name_in(EXPORTS_FOLDER, ".exports")?;
    make_folder(EXPORTS_FOLDER)?;
    file.write()?;
    let read_all = || run(&["exportfs", "-ra"]);
    if let Err(fault) = read_all() {
        file.restore()?;
        // What the server read of it before it gave up is taken back too.
        let _ = read_all();
        return Err(fault);
    }
    Ok(NodeReply::Done)
}

/// Writes the unit of a mount, and mounts it now and at every start.
pub(super) fn mount(file: &SystemFile<'_>) -> Result<NodeReply, Fault> {
    let unit = file.name_in(UNITS_FOLDER, ".mount")?;
    file.write()?;
    let result = bring_up(
        unit,
        file.was
            .is_some_and(|was| mounts(was) != mounts(file.content)),
    );
    if let Err(fault) = result {
        let why = why_failed(unit);
        if file.was.is_none() {
            let _ = run(&["systemctl", "disable", unit]);
        }
        file.restore()?;
        let _ = run(&["systemctl", "daemon-reload"]);
        if file.was.is_some() {
            let _ = run(&["systemctl", "start", unit]);
        }
        return Err(Fault::new(
            fault.kind,
            match why {
                Some(why) => format!("{}: {why}", fault.message),
                None => fault.message,
            },
        ));
    }
    Ok(NodeReply::Done)
}

/// Returns what a unit's text says of the mount itself.
fn mounts(unit: &str) -> &str {
    unit.find("[Mount]").map_or(unit, |at| &unit[at..])
}

/// Takes back an export or a mount: the system lets go of it, and its file goes.
///
/// What is still in use is not let go of, and then the file stays.
pub(super) fn withdraw(path: &str, was: &str) -> Result<NodeReply, Fault> {
    let file = SystemFile::new(path, was, Some(was));
    let unit = match file.name_in(EXPORTS_FOLDER, ".exports") {
        Ok(_) => None,
        Err(_) => Some(file.name_in(UNITS_FOLDER, ".mount")?),
    };
    if file.is_gone()? {
        return Ok(NodeReply::Done);
    }
    let Some(unit) = unit else {
        file.put(None)?;
        if let Err(fault) = run(&["exportfs", "-ra"]) {
            file.restore()?;
            return Err(fault);
        }
        return Ok(NodeReply::Done);
    };
    run(&["systemctl", "stop", unit])?;
    run(&["systemctl", "disable", "--no-reload", unit])?;
    file.put(None)?;
    run(&["systemctl", "daemon-reload"])?;
    Ok(NodeReply::Done)
}

fn bring_up(unit: &str, is_other: bool) -> Result<(), Fault> {
    run(&["systemctl", "daemon-reload"])?;
    // What it links is read at the next start; reading all again now takes seconds on slow machines.
    run(&["systemctl", "enable", "--no-reload", unit])?;
    // A unit that failed too often is not started again unless its failures are forgotten.
    let _ = run(&["systemctl", "reset-failed", unit]);
    // Where the options changed, what is mounted has to be mounted anew.
    let verb = if is_other { "restart" } else { "start" };
    run(&["systemctl", verb, unit]).map(drop)
}

/// Returns what the program that mounts said last, if the journal has it.
fn why_failed(unit: &str) -> Option<String> {
    let said = run(&[
        "journalctl",
        "-u",
        unit,
        "-n",
        "12",
        "-o",
        "cat",
        "--no-pager",
    ])
    .ok()?;
    let lines = said.lines().map(str::trim);
    let of_mount = |line: &&str| line.starts_with("mount");
    lines.rev().find(of_mount).map(str::to_owned)
}

fn make_folder(path: &str) -> Result<(), Fault> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Fault::io(&format!("make {path}"), &error))
        }
        _ => Ok(()),
    }
}

/// Runs a program of the system and returns what it says.
fn run(argv: &[&str]) -> Result<String, Fault> {
    let program = Program {
        argv: argv.iter().map(Into::into).collect(),
        run_as: None,
        timeout: Some(TIMEOUT),
        surroundings: Surroundings::Bare,
    };
    let mut running = program.start(&Cancel::default())?;
    let mut said = Vec::new();
    let result = running.by_ref().take(OUTPUT_MAX).read_to_end(&mut said);
    if let Err(error) = result {
        let fault = running.failure();
        return Err(fault.unwrap_or_else(|| Fault::io(&format!("run {}", argv[0]), &error)));
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_their_folders_are_written() {
        for path in [
            "/etc/passwd",
            "/etc/exports.d/../passwd.exports",
            "/etc/exports.d/.hidden.exports",
            "/etc/exports.d/x.conf",
            "/etc/exports.d/a/b.exports",
            "exports.d/x.exports",
        ] {
            let file = SystemFile::new(path, "", None);
            assert!(export(&file).is_err(), "{path}");
        }
        for path in ["/etc/systemd/system/x.service", "/etc/systemd/x.mount"] {
            assert!(mount(&SystemFile::new(path, "", None)).is_err(), "{path}");
        }
        assert!(set_quota("-r", 1).is_err() && set_quota("", 1).is_err());
    }

    #[test]
    fn a_file_that_changed_since_the_plan_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.exports");
        let path = path.to_str().expect("a plain path");
        fs::write(path, "by hand").expect("a file");
        for was in [None, Some("before")] {
            let fault = SystemFile::new(path, "new", was)
                .write()
                .expect_err("it changed");
            assert!(fault.message.contains("has changed"), "{}", fault.message);
            assert_eq!(fs::read_to_string(path).expect("it is there"), "by hand");
        }
        let file = SystemFile::new(path, "new", Some("by hand"));
        file.write().expect("it is as it was seen");
        assert_eq!(fs::read_to_string(path).expect("it is there"), "new");
        // Carried out again after an interruption, it finds its own work.
        file.write().expect("it is as it is to be");
        file.restore().expect("it comes back");
        assert_eq!(fs::read_to_string(path).expect("it is there"), "by hand");
        let new = SystemFile::new(path, "x", None);
        new.restore().expect("there was none");
        assert!(!Path::new(path).exists());
    }

    #[test]
    fn a_unit_under_another_name_mounts_the_same() {
        let unit = |name: &str, what: &str| {
            format!(
                "# {name}: kept by bkpctl\n[Unit]\nDescription={name}\n\n[Mount]\nWhat={what}\n"
            )
        };
        assert_eq!(mounts(&unit("a", "x")), mounts(&unit("b", "x")));
        assert_ne!(mounts(&unit("a", "x")), mounts(&unit("a", "y")));
    }

    #[test]
    fn only_files_of_ours_are_taken_back_and_only_as_they_were_seen() {
        for path in [
            "/etc/passwd",
            "/etc/exports.d/x.conf",
            "/etc/systemd/x.mount",
        ] {
            assert!(withdraw(path, "").is_err(), "{path}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.exports");
        let path = path.to_str().expect("a plain path");
        let file = SystemFile::new(path, "was", Some("was"));
        assert_eq!(file.is_gone(), Ok(true));
        fs::write(path, "was\n").expect("a file");
        assert_eq!(file.is_gone(), Ok(false));
        fs::write(path, "by hand").expect("a file");
        assert!(file.is_gone().is_err());
    }

    #[test]
    fn what_a_program_says_when_it_fails_is_told() {
        let fault = run(&["sh", "-c", "echo no such share >&2; exit 3"]).expect_err("it fails");
        assert!(fault.message.contains("no such share"), "{}", fault.message);
        assert_eq!(run(&["echo", "a b"]).expect("it runs"), "a b\n");
    }
}

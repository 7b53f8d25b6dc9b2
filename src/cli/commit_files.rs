//! The files of a topology as a commit has them, read with the `git` program.
//!
//! Nothing that a repository says is run for it: no filter, no hook, no text conversion, and
//! nothing is fetched. A commit is resolved once, so that a branch that moves meanwhile makes no
//! mixture.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::topology_files::{SIZE_MAX, text};
use crate::config::{Files, FilesError};
use crate::plan::saved::Commit;

/// The longest listing of a folder that is read.
const LIST_MAX: u64 = 16 << 20;

/// A topology's folder in one commit; links are not followed.
#[derive(Debug, Clone)]
pub struct CommitFiles {
    folder: PathBuf,
    commit: String,
    /// What was listed, by folder: a commit never changes.
    listed: BTreeMap<String, Vec<Entry>>,
}

impl CommitFiles {
    /// Finds a commit by what people call it, in the repository that a folder belongs to.
    ///
    /// The error is what `git` said.
    pub fn find(folder: &Path, revision: &str) -> Result<Self, String> {
        let commit = format!("{revision}^{{commit}}");
        let arguments = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &commit,
        ];
        Self::resolved(folder, &arguments)
            .map_err(|why| format!("there is no commit {revision:?}: {why}"))
    }

    /// Finds the commit from which two others went apart.
    pub fn find_base(folder: &Path, one: &Self, other: &Self) -> Result<Self, String> {
        Self::resolved(folder, &["merge-base", &one.commit, &other.commit])
            .map_err(|_| "the two have no commit in common".to_owned())
    }

    fn resolved(folder: &Path, arguments: &[&str]) -> Result<Self, String> {
        let output = git(folder, arguments, 4096)?;
        let commit = String::from_utf8_lossy(&output).trim().to_owned();
        let is_id = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id
            .then(|| Self {
                folder: folder.to_owned(),
                commit,
                listed: BTreeMap::new(),
            })
            .ok_or_else(|| "git named no commit".to_owned())
    }

    /// Returns what is directly in a folder of the commit.
    fn entries(&mut self, folder: &str) -> Result<&[Entry], FilesError> {
        if !self.listed.contains_key(folder) {
            let tree = format!("{}:./{folder}", self.commit);
            // Without `--full-tree` only what the current folder is called in that tree is listed.
            let arguments = ["ls-tree", "-z", "--full-tree", "--end-of-options", &tree];
            let listing =
                git(&self.folder, &arguments, LIST_MAX).map_err(|_| FilesError::NotFound)?;
            let lines = listing.split(|byte| *byte == 0);
            // A name that is not text can't be written down in an include.
            let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
            let entries = lines.filter_map(Entry::read).collect();
            self.listed.insert(folder.to_owned(), entries);
        }
        Ok(&self.listed[folder])
    }
}

/// Says where a folder stands in git; none if it is in no repository, or has no commit.
pub fn standing(folder: &Path) -> Option<Commit> {
    let id = CommitFiles::find(folder, "HEAD").ok()?.commit;
    // One changed file is enough to know.
    let changed = git(folder, &["status", "--porcelain", "--", "."], 1).ok()?;
    Some(Commit {
        id,
        dirty: !changed.is_empty(),
    })
}

/// One line of `git ls-tree`: mode, type and id, a tab, the name.
#[derive(Debug, Clone)]
struct Entry {
    mode: String,
    id: String,
    name: String,
}

impl Entry {
    fn read(line: &str) -> Option<Self> {
        let (what, name) = line.split_once('\t')?;
        let mut what = what.split(' ');
        let (mode, _, id) = (what.next()?, what.next()?, what.next()?);
        Some(Self {
            mode: mode.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
        })
    }

    fn is_file(&self) -> bool {
        self.mode.starts_with("100")
    }
}

impl Files for CommitFiles {
    fn read(&mut self, path: &str) -> Result<String, FilesError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut entries = self.entries(folder)?.iter();
        let entry = entries.find(|entry| entry.name == name);
        let entry = entry.ok_or(FilesError::NotFound)?;
        if !entry.is_file() {
            let why = "it is no regular file, and links of a commit are not followed";
            return Err(FilesError::Denied(why.to_owned()));
        }
        let id = entry.id.clone();
        let bytes = git(&self.folder, &["cat-file", "blob", &id], SIZE_MAX + 1);
        text(bytes.map_err(FilesError::Denied)?)
    }

    fn list(&mut self, folder: &str) -> Result<Vec<String>, FilesError> {
        let files = self.entries(folder)?.iter().filter(|entry| entry.is_file());
        Ok(files.map(|entry| entry.name.clone()).collect())
    }
}

/// Runs `git` in a folder and returns what it printed, at most `bytes_max`; the rest is not read.
fn git(folder: &Path, arguments: &[&str], bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("git can't be started: {error}"))?;
    let mut printed = Vec::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    let read = stdout.take(bytes_max).read_to_end(&mut printed);
    let is_cut = printed.len() as u64 == bytes_max;
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())?;
    if output.status.success() || is_cut {
        return Ok(printed);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint
        .lines()
        .next()
        .unwrap_or("git said nothing")
        .trim();
    Err(complaint.to_owned())
}

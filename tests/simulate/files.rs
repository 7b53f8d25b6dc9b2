//! A file system in memory that tells what is durable from what is only visible.
//!
//! A file's bytes are durable up to the last sync that worked. A name is durable once its
//! folder was synced. What is not may be lost or kept at a power loss, each change for itself,
//! but a rename is one change, and a change never outlives an earlier one of the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use crate::rng::Rng;

const SECTOR: usize = 512;
const ROOT: Ino = 1;

/// Names a file or folder, whatever it is called.
pub(crate) type Ino = u64;

#[derive(Debug)]
struct FileNode {
    bytes: Vec<u8>,
    /// How many of the bytes are on the disk.
    durable: usize,
    /// Whether a sync failed: the pages count as clean since, and no later sync writes them.
    is_doomed: bool,
    /// The number of the lock that is held.
    lock: Option<u64>,
}

#[derive(Debug, Default)]
struct FolderNode {
    names: BTreeMap<String, Ino>,
    durable: BTreeMap<String, Ino>,
}

#[derive(Debug)]
enum Node {
    File(FileNode),
    Folder(FolderNode),
}

/// What one name becomes.
#[derive(Debug, Clone)]
struct Cell {
    folder: Ino,
    name: String,
    now: Option<Ino>,
}

/// One change of names that happens as a whole: one cell, or two for a rename.
type Change = Vec<Cell>;

/// Is the state of a file system.
#[derive(Debug)]
pub(crate) struct Files {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    pending: Vec<Change>,
}

/// What a folder shows of one item.
pub(crate) struct Stat {
    pub(crate) is_folder: bool,
    pub(crate) size: u64,
}

impl Files {
    /// Makes a file system with one folder, `/srv`.
    pub(crate) fn new() -> Self {
        let srv = ROOT + 1;
        let names = BTreeMap::from([("srv".to_owned(), srv)]);
        let root = FolderNode {
            names: names.clone(),
            durable: names,
        };
        Self {
            nodes: BTreeMap::from([
                (ROOT, Node::Folder(root)),
                (srv, Node::Folder(FolderNode::default())),
            ]),
            next: srv + 1,
            pending: Vec::new(),
        }
    }

    /// Finds what a path names.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for part in path.components() {
            let name = match part {
                Component::RootDir => continue,
                Component::Normal(name) => name.to_str(),
                _ => None,
            };
            let name = name.ok_or(io::ErrorKind::InvalidInput)?;
            at = self.entry(at, name)?.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn entry(&self, folder: Ino, name: &str) -> io::Result<Option<Ino>> {
        Ok(self.folder(folder)?.names.get(name).copied())
    }

    fn split(&self, path: &Path) -> io::Result<(Ino, String)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(parent)?, name.to_owned()))
    }

    fn folder(&self, ino: Ino) -> io::Result<&FolderNode> {
        match &self.nodes[&ino] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, ino: Ino) -> io::Result<&FileNode> {
        match &self.nodes[&ino] {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file_mut(&mut self, ino: Ino) -> Option<&mut FileNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    fn add(&mut self, node: Node) -> Ino {
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, node);
        ino
    }

    fn change(&mut self, change: Change) {
        for cell in &change {
            if let Some(Node::Folder(folder)) = self.nodes.get_mut(&cell.folder) {
                set(&mut folder.names, cell);
            }
        }
        self.pending.push(change);
    }

    /// Creates a file that must not exist.
    pub(crate) fn create(&mut self, path: &Path) -> io::Result<Ino> {
        self.make(path, || {
            Node::File(FileNode {
                bytes: Vec::new(),
                durable: 0,
                is_doomed: false,
                lock: None,
            })
        })
    }

    /// Creates a folder that must not exist.
    pub(crate) fn make_folder(&mut self, path: &Path) -> io::Result<Ino> {
        self.make(path, || Node::Folder(FolderNode::default()))
    }

    fn make(&mut self, path: &Path, node: impl FnOnce() -> Node) -> io::Result<Ino> {
        let (folder, name) = self.split(path)?;
        if self.entry(folder, &name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ino = self.add(node());
        let now = Some(ino);
        self.change(vec![Cell { folder, name, now }]);
        Ok(ino)
    }

    /// Gives a file a second name, which must be free.
    pub(crate) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.find(from)?;
        let (folder, name) = self.split(to)?;
        if self.entry(folder, &name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let now = Some(ino);
        self.change(vec![Cell { folder, name, now }]);
        Ok(())
    }

    /// Renames a file or folder; `replace` says whether a file may be there already.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let (old_folder, old_name) = self.split(from)?;
        let ino = self.entry(old_folder, &old_name)?;
        let ino = ino.ok_or(io::ErrorKind::NotFound)?;
        let (folder, name) = self.split(to)?;
        if let Some(there) = self.entry(folder, &name)? {
            if !replace {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if let Node::Folder(there) = &self.nodes[&there]
                && !there.names.is_empty()
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
        }
        self.change(vec![
            Cell {
                folder: old_folder,
                name: old_name,
                now: None,
            },
            Cell {
                folder,
                name,
                now: Some(ino),
            },
        ]);
        Ok(())
    }

    /// Takes a name away: of a file, or of an empty folder.
    pub(crate) fn remove(&mut self, path: &Path, is_folder: bool) -> io::Result<()> {
        let (folder, name) = self.split(path)?;
        let ino = self.entry(folder, &name)?;
        match &self.nodes[&ino.ok_or(io::ErrorKind::NotFound)?] {
            Node::File(_) if is_folder => return Err(io::ErrorKind::NotADirectory.into()),
            Node::Folder(_) if !is_folder => return Err(io::ErrorKind::IsADirectory.into()),
            Node::Folder(inner) if !inner.names.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        let now = None;
        self.change(vec![Cell { folder, name, now }]);
        Ok(())
    }

    /// Tells whether what a path names would outlive a power loss.
    pub(crate) fn is_durable(&self, path: &Path) -> bool {
        let Ok(wanted) = self.find(path) else {
            return false;
        };
        let mut at = Some(ROOT);
        for part in path.components().skip(1) {
            let name = part.as_os_str().to_str().unwrap_or_default();
            at = at.and_then(|ino| self.folder(ino).ok()?.durable.get(name).copied());
        }
        let whole = |file: &FileNode| file.durable == file.bytes.len();
        at == Some(wanted) && self.file(wanted).is_ok_and(whole)
    }

    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self
            .folder(self.find(path)?)?
            .names
            .keys()
            .cloned()
            .collect())
    }

    pub(crate) fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(match &self.nodes[&self.find(path)?] {
            Node::Folder(_) => Stat {
                is_folder: true,
                size: 0,
            },
            Node::File(file) => Stat {
                is_folder: false,
                size: file.bytes.len() as u64,
            },
        })
    }

    pub(crate) fn bytes(&self, ino: Ino) -> io::Result<&[u8]> {
        Ok(&self.file(ino)?.bytes)
    }

    pub(crate) fn append(&mut self, ino: Ino, bytes: &[u8]) {
        if let Some(file) = self.file_mut(ino) {
            file.bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn sync_file(&mut self, ino: Ino) {
        if let Some(file) = self.file_mut(ino)
            && !file.is_doomed
        {
            file.durable = file.bytes.len();
        }
    }

    /// Lets what a failed sync should have written be lost: a later one does not write it.
    pub(crate) fn doom(&mut self, ino: Ino) {
        if let Some(file) = self.file_mut(ino) {
            file.is_doomed = true;
        }
    }

    pub(crate) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        self.folder(ino)?;
        self.settle(|_, change| change.iter().any(|cell| cell.folder == ino));
        Ok(())
    }

    /// Makes the changes durable that `is_chosen` accepts, and those they follow from.
    fn settle(&mut self, mut is_chosen: impl FnMut(usize, &Change) -> bool) {
        let mut cells: BTreeSet<(Ino, String)> = BTreeSet::new();
        let mut chosen = vec![false; self.pending.len()];
        for (number, change) in self.pending.iter().enumerate().rev() {
            let follows = |cell: &Cell| cells.contains(&(cell.folder, cell.name.clone()));
            if is_chosen(number, change) || change.iter().any(follows) {
                chosen[number] = true;
                cells.extend(change.iter().map(|cell| (cell.folder, cell.name.clone())));
            }
        }
        let mut chosen = chosen.into_iter();
        let (done, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|_| chosen.next() == Some(true));
        self.pending = left;
        for cell in done.iter().flatten() {
            if let Some(Node::Folder(folder)) = self.nodes.get_mut(&cell.folder) {
                set(&mut folder.durable, cell);
            }
        }
    }

    /// Takes the lock of a file unless it is held.
    pub(crate) fn take_lock(&mut self, ino: Ino, number: u64) -> bool {
        match self.file_mut(ino) {
            Some(file) if file.lock.is_none() => {
                file.lock = Some(number);
                true
            }
            _ => false,
        }
    }

    /// Frees a lock; tells whether it was held.
    pub(crate) fn free_lock(&mut self, ino: Ino, number: u64) -> bool {
        match self.file_mut(ino) {
            Some(file) if file.lock == Some(number) => {
                file.lock = None;
                true
            }
            _ => false,
        }
    }

    /// Loses power: what is not durable is kept, lost or torn, as the numbers say.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let count = self.pending.len();
        let first_lost = rng.index(count + 1);
        let mode = rng.below(5);
        let mut coins = rng.fork();
        self.settle(|number, _| match mode {
            0 => false,
            1 => true,
            // A journal keeps what came before something.
            2 => number < first_lost,
            3 => coins.one_in(2),
            _ => coins.one_in(6),
        });
        self.pending.clear();
        for node in self.nodes.values_mut() {
            match node {
                Node::Folder(folder) => folder.names = folder.durable.clone(),
                Node::File(file) => tear(file, rng),
            }
        }
        self.forget_unreachable();
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![ROOT];
        while let Some(ino) = waiting.pop() {
            if reached.insert(ino)
                && let Node::Folder(folder) = &self.nodes[&ino]
            {
                waiting.extend(folder.names.values());
            }
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
    }
}

fn set(names: &mut BTreeMap<String, Ino>, cell: &Cell) {
    match cell.now {
        Some(ino) => names.insert(cell.name.clone(), ino),
        None => names.remove(&cell.name),
    };
}

/// Leaves of a file what the disk may hold: each sector written, not written, or zeros.
fn tear(file: &mut FileNode, rng: &mut Rng) {
    file.lock = None;
    file.is_doomed = false;
    let (durable, len) = (file.durable, file.bytes.len());
    match rng.below(4) {
        _ if durable == len => {}
        0 => file.bytes.truncate(durable),
        1 => {}
        2 => file.bytes.truncate(durable + rng.index(len - durable)),
        _ => {
            let mut at = durable;
            while at < len {
                let end = (at / SECTOR + 1) * SECTOR;
                let end = end.min(len);
                if rng.one_in(2) {
                    file.bytes[at..end].fill(0);
                }
                at = end;
            }
        }
    }
    file.durable = file.bytes.len();
}

//! Walks live directories into a path-sorted stream of entries.
//!
//! Every call below a root is relative to an open directory and follows no link, so that a
//! path may be of any length and a tree that changes under the walk cannot lead it astray. A
//! directory is read whole, sorted, and its entries come one at a time; memory is that of the
//! directories on the way down. Only the deepest few of those stay open.
//!
//! With one root, that path is the root of the entries. With several, the entries are full
//! paths as seen from `/`, and the directories above a root come with their own metadata and
//! nothing else in them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

use self::roots::{Base, absolute_roots, single_base, slash_base, stat_at};
use super::content::{self, OpenFile};
use super::entry::{Entry, Kind, Meta};
use super::exclude::{self, Excludes};
use super::listing::Listing;
use super::metadata::{self, Identity};
use super::note::{Note, What};
use super::owners::Owners;
use super::path::{PathError, RelPath};
use super::xattrs::XattrReader;

/// How many directories on the way down stay open.
const OPEN_DIRS_MAX: usize = 32;

/// Says why a scan cannot begin.
#[derive(Debug, Error)]
pub enum ScanError {
    /// There is nothing to scan.
    #[error("no path was given")]
    NoRoots,
    /// A root does not begin with a slash.
    #[error("path '{}' is not absolute", .0.display())]
    NotAbsolute(PathBuf),
    /// A root cannot be a path of entries.
    #[error("path '{}' cannot be used", .path.display())]
    Path {
        /// The root as given.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// A root, or with several roots a directory above one, is a symbolic link.
    #[error("path '{}' is a symbolic link; name what it leads to", .0.display())]
    SymbolicLink(PathBuf),
    /// A root is the repository's own directory.
    #[error("path '{}' is the repository itself", .0.display())]
    Repository(PathBuf),
    /// A root does not exist or cannot be examined.
    #[error("path '{}' cannot be examined", .path.display())]
    Root {
        /// The root as given.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

/// Says what a scan leaves out.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// Stays on the file system of each root; mount points come as empty directories.
    pub one_file_system: bool,
    /// Leaves out what is in directories with a valid `CACHEDIR.TAG`, but for the tag.
    pub skip_caches: bool,
    /// Leaves out what matches; roots themselves are never left out.
    pub excludes: Excludes,
}

/// Is one thing a scan comes across.
#[derive(Debug)]
pub enum Found {
    /// An entry, in path order.
    Entry(Box<Scanned>),
    /// Something to tell about a path, near its place in the order.
    Note(Note),
}

/// Holds an entry and the way to its data.
///
/// It keeps its parent directory open: hold only as many as the limit of open files bears.
#[derive(Debug)]
pub struct Scanned {
    /// What was found; a file counts as dense, and has no spans, until it is opened.
    pub entry: Entry,
    /// The device it is on; not for the repository, as it may differ after a boot.
    pub device: u64,
    parent: Arc<OwnedFd>,
    /// The name in the parent, where the path does not end with it.
    root_name: Option<Arc<[u8]>>,
}

/// Walks one or several roots; an iterator that never fails as a whole.
#[derive(Debug)]
pub struct Scan {
    options: ScanOptions,
    owners: Owners,
    base: Option<Base>,
    /// The roots as paths of entries.
    roots: BTreeSet<RelPath>,
    stack: Vec<Frame>,
    path: RelPath,
    links: HashMap<Identity, FirstName>,
    /// Directories that are left out by what they are, whatever their path, and why.
    left_out: Vec<(Identity, What)>,
    notes: VecDeque<Note>,
    xattrs: XattrReader,
    buffer: Vec<u8>,
}

/// One directory on the way down.
#[derive(Debug)]
struct Frame {
    /// Closed while the walk is far below.
    dir: Option<Arc<OwnedFd>>,
    identity: Identity,
    listing: Listing,
    reach: Reach,
}

/// Says how much of a directory belongs to the scan.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// Everything, the device being that of the root it is in.
    Whole { device: u64 },
    /// Only the way to roots below.
    WayOnly,
}

#[derive(Debug)]
struct FirstName {
    path: RelPath,
    names_left: u64,
}

impl Scan {
    /// Prepares to walk `roots`, absolute paths that exist.
    pub fn new(roots: &[PathBuf], owners: Owners, options: ScanOptions) -> Result<Self, ScanError> {
        let (base, roots) = match roots {
            [] => return Err(ScanError::NoRoots),
            [single] => (single_base(single)?, BTreeSet::from([RelPath::root()])),
            several => (slash_base()?, absolute_roots(several)?),
        };
        Ok(Self {
            options,
            owners,
            base: Some(base),
            roots,
            stack: Vec::new(),
            path: RelPath::root(),
            links: HashMap::new(),
            left_out: Vec::new(),
            notes: VecDeque::new(),
            xattrs: XattrReader::new(),
            buffer: Vec::new(),
        })
    }

    /// Leaves out directories of the repository itself; none of `roots` can be one.
    ///
    /// They are known again by device and inode, so that a link or a second mount on the way
    /// to one does not hide it. What does not exist is nothing to leave out.
    pub fn leaving_out(mut self, dirs: &[PathBuf], roots: &[PathBuf]) -> Result<Self, ScanError> {
        let identity = |path: &PathBuf| match rustix::fs::stat(path) {
            Ok(stat) => Ok(Some(Identity::of(&stat))),
            // What we may not even look at, the walk can't enter either.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
            Err(errno) => Err(ScanError::Root {
                path: path.clone(),
                source: errno.into(),
            }),
        };
        for dir in dirs {
            let found = identity(dir)?.map(|dir| (dir, What::RepositoryLeftOut));
            self.left_out.extend(found);
        }
        for root in roots {
            if identity(root)?.is_some_and(|root| self.why_left_out(root).is_some()) {
                return Err(ScanError::Repository(root.clone()));
            }
        }
        Ok(self)
    }

    /// Leaves out the folder of the cache, which changes while it is walked, unless it is a root.
    #[must_use]
    pub fn leaving_out_cache(mut self, dir: &Path) -> Self {
        let found = rustix::fs::stat(dir).ok();
        let found = found.map(|stat| (Identity::of(&stat), What::OwnCacheLeftOut));
        self.left_out.extend(found);
        self
    }

    fn why_left_out(&self, dir: Identity) -> Option<What> {
        let found = self.left_out.iter().find(|(left, _)| *left == dir);
        found.map(|(_, why)| why.clone())
    }

    /// Forgets that an entry was the first of several names, so that the next name takes its place.
    ///
    /// Call it before the walk goes on, when the entry cannot be stored: a hard link to what is
    /// not there would be lost with it.
    pub fn withdraw(&mut self, scanned: &Scanned) {
        let identity = Identity {
            device: scanned.device,
            inode: scanned.entry.meta.inode,
        };
        if self
            .links
            .get(&identity)
            .is_some_and(|first| first.path == scanned.entry.path)
        {
            self.links.remove(&identity);
        }
    }

    fn start(&mut self, base: &Base) -> Option<Scanned> {
        let reach = if self.roots.contains(&RelPath::root()) {
            Reach::Whole { device: 0 }
        } else {
            Reach::WayOnly
        };
        let stat = self.stat(base.parent.as_fd(), &base.name)?;
        let mut scanned =
            self.enter_or_take(&base.parent, &base.name, &stat, widened(reach, &stat))?;
        scanned.root_name = Some(Arc::clone(&base.name));
        Some(scanned)
    }

    /// Examines `name` in the directory on top of the stack; `self.path` is already its path.
    fn visit(&mut self, parent: &Arc<OwnedFd>, name: &[u8], reach: Reach) -> Option<Scanned> {
        let stat = self.stat(parent.as_fd(), name)?;
        let is_dir = metadata::file_type(&stat) == FileType::Directory;
        let on_the_way = is_dir && self.has_roots_below();
        let is_root = self.roots.contains(&self.path);
        let left_out = if is_dir {
            self.why_left_out(Identity::of(&stat))
        } else {
            None
        };
        let inner = match reach {
            _ if is_root => Reach::Whole {
                device: stat.st_dev,
            },
            Reach::WayOnly => Reach::WayOnly,
            Reach::Whole { .. } if let Some(why) = left_out => {
                self.note(why);
                if !on_the_way {
                    return None;
                }
                Reach::WayOnly
            }
            Reach::Whole { .. } if self.options.excludes.excludes(&self.path, is_dir) => {
                if !on_the_way {
                    return None;
                }
                Reach::WayOnly
            }
            Reach::Whole { device }
                if is_dir && self.options.one_file_system && device != stat.st_dev =>
            {
                self.note(What::OtherFileSystem);
                Reach::WayOnly
            }
            whole @ Reach::Whole { .. } => whole,
        };
        self.enter_or_take(parent, name, &stat, inner)
    }

    fn enter_or_take(
        &mut self,
        parent: &Arc<OwnedFd>,
        name: &[u8],
        stat: &Stat,
        reach: Reach,
    ) -> Option<Scanned> {
        if metadata::file_type(stat) == FileType::Directory {
            return Some(self.enter(parent, name, stat, reach));
        }
        self.take(parent, name, stat)
    }

    /// Makes the entry of a directory, and goes into it if there is something to see.
    fn enter(&mut self, parent: &Arc<OwnedFd>, name: &[u8], stat: &Stat, reach: Reach) -> Scanned {
        let opened = content::open_reading(parent.as_fd(), name, OFlags::DIRECTORY)
            .and_then(|dir| rustix::fs::fstat(&dir).map(|stat| (dir, stat)));
        match opened {
            // What was opened counts, should another directory have taken the name.
            Ok((dir, opened_stat)) => {
                let (xattrs, failure) = self.xattrs.of_fd(dir.as_fd());
                self.note_failed(What::XattrsUnreadable, failure);
                let mut scanned = self.scanned(parent, &opened_stat, Kind::Dir);
                scanned.entry.meta.xattrs = xattrs;
                self.descend(dir, &opened_stat, reach);
                scanned
            }
            Err(errno) => {
                self.note_failed(What::DirUnreadable, Some(errno));
                let mut scanned = self.scanned(parent, stat, Kind::Dir);
                scanned.entry.meta.xattrs = self.xattrs_of_name(parent.as_fd(), name);
                scanned
            }
        }
    }

    fn descend(&mut self, dir: OwnedFd, stat: &Stat, reach: Reach) {
        let (mut listing, mut reach) = match reach {
            Reach::WayOnly => (self.way_listing(None), reach),
            Reach::Whole { .. } => {
                let (listing, failure) = Listing::read(dir.as_fd(), &mut self.buffer);
                self.note_failed(What::DirUnreadable, failure);
                (listing, reach)
            }
        };
        let is_root = self.roots.contains(&self.path);
        let may_be_cache =
            self.options.skip_caches && !is_root && listing.contains(exclude::CACHE_TAG_NAME);
        if may_be_cache && exclude::has_cache_tag(&dir) {
            self.note(What::CacheSkipped);
            listing = self.way_listing(Some(exclude::CACHE_TAG_NAME));
            reach = Reach::WayOnly;
        }
        // The first stays open, as the place to start from when a way back is lost.
        let close = self
            .stack
            .len()
            .checked_sub(OPEN_DIRS_MAX)
            .filter(|&index| index > 0);
        if let Some(frame) = close.and_then(|index| self.stack.get_mut(index)) {
            frame.dir = None;
        }
        self.stack.push(Frame {
            dir: Some(Arc::new(dir)),
            identity: Identity::of(stat),
            listing,
            reach,
        });
    }

    /// Makes the entry of anything but a directory.
    fn take(&mut self, parent: &Arc<OwnedFd>, name: &[u8], stat: &Stat) -> Option<Scanned> {
        let kind = match metadata::file_type(stat) {
            FileType::Socket => {
                self.note(What::SocketSkipped);
                return None;
            }
            FileType::Symlink => self.link_kind(parent.as_fd(), name)?,
            _ => {
                let Some(kind) = metadata::plain_kind(stat) else {
                    self.note(What::KindSkipped);
                    return None;
                };
                kind
            }
        };
        if let Some(to) = self.earlier_name(stat) {
            return Some(self.scanned(parent, stat, Kind::Hardlink { to }));
        }
        let mut scanned = self.scanned(parent, stat, kind);
        scanned.entry.meta.xattrs = self.xattrs_of_name(parent.as_fd(), name);
        Some(scanned)
    }

    fn link_kind(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Option<Kind> {
        match rustix::fs::readlinkat(parent, name, Vec::with_capacity(64)) {
            Ok(target) => Some(Kind::Symlink {
                target: target.into_bytes(),
            }),
            Err(errno) => {
                self.note_missing(errno);
                None
            }
        }
    }

    /// Returns the name under which this file came before, and remembers it if it is the first.
    fn earlier_name(&mut self, stat: &Stat) -> Option<RelPath> {
        let links = metadata::links(stat);
        if links < 2 || self.path.is_root() {
            return None;
        }
        let identity = Identity::of(stat);
        let Some(first) = self.links.get_mut(&identity) else {
            self.links.insert(
                identity,
                FirstName {
                    path: self.path.clone(),
                    names_left: links - 1,
                },
            );
            return None;
        };
        first.names_left = first.names_left.saturating_sub(1);
        if first.names_left > 0 {
            return Some(first.path.clone());
        }
        self.links.remove(&identity).map(|first| first.path)
    }

    fn scanned(&self, parent: &Arc<OwnedFd>, stat: &Stat, kind: Kind) -> Scanned {
        let meta = metadata::meta(stat, &self.owners);
        let entry = Entry::new(self.path.clone(), kind, meta);
        Scanned {
            entry,
            device: stat.st_dev,
            parent: Arc::clone(parent),
            root_name: None,
        }
    }

    fn stat(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Option<Stat> {
        match stat_at(parent, name) {
            Ok(stat) => Some(stat),
            Err(errno) => {
                self.note_missing(errno);
                None
            }
        }
    }

    fn xattrs_of_name(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Vec<super::Xattr> {
        let (xattrs, failure) = self.xattrs.of_name(parent, name);
        self.note_failed(What::XattrsUnreadable, failure);
        xattrs
    }

    fn has_roots_below(&self) -> bool {
        self.next_root_below().is_some()
    }

    fn next_root_below(&self) -> Option<&RelPath> {
        let after = (Bound::Excluded(&self.path), Bound::Unbounded);
        self.roots
            .range(after)
            .next()
            .filter(|root| root.starts_with(&self.path))
    }

    /// Lists the names that lead from here to roots, and one more.
    fn way_listing(&self, more: Option<&[u8]>) -> Listing {
        let depth = self.path.components().count();
        let after = (Bound::Excluded(&self.path), Bound::Unbounded);
        let below = self
            .roots
            .range(after)
            .take_while(|root| root.starts_with(&self.path));
        Listing::of(
            below
                .filter_map(|root| root.components().nth(depth))
                .chain(more),
        )
    }

    /// Leaves the directory on top of the stack and opens its parent again if it was closed.
    fn leave(&mut self) {
        let Some(left) = self.stack.pop() else { return };
        if self.stack.last().is_some_and(|parent| parent.dir.is_none()) {
            let reopened = left.dir.as_ref().and_then(|dir| self.reopen_from(dir));
            if let (Some(dir), Some(parent)) = (reopened, self.stack.last_mut()) {
                parent.dir = Some(Arc::new(dir));
            }
        }
        self.path.pop();
    }

    /// Goes up by `..`, or down again from the top if the child has been moved meanwhile.
    fn reopen_from(&self, child: &Arc<OwnedFd>) -> Option<OwnedFd> {
        let wanted = self.stack.last()?.identity;
        let up = content::open_reading(child.as_fd(), b"..", OFlags::DIRECTORY).ok();
        up.filter(|dir| is_identity(dir, wanted))
            .or_else(|| self.reopen_from_top(wanted))
    }

    fn reopen_from_top(&self, wanted: Identity) -> Option<OwnedFd> {
        let top = self.stack.first()?.dir.as_ref()?;
        let mut names = self.path.components();
        // The child's own name is still at the end of the path.
        names.next_back();
        let mut dir = top.try_clone().ok()?;
        for name in names {
            dir = content::open_reading(dir.as_fd(), name, OFlags::DIRECTORY).ok()?;
        }
        Some(dir).filter(|dir| is_identity(dir, wanted))
    }

    fn note(&mut self, what: What) {
        self.notes.push_back(Note::new(self.path.clone(), what));
    }

    fn note_failed(&mut self, what: What, failure: Option<Errno>) {
        if let Some(errno) = failure {
            self.notes
                .push_back(Note::failed(self.path.clone(), what, errno));
        }
    }

    fn note_missing(&mut self, errno: Errno) {
        match errno {
            Errno::NOENT => self.note(What::Vanished),
            _ => self.note_failed(What::Unreadable, Some(errno)),
        }
    }

    /// Examines the next name of the directory on top; nothing if there was no entry to make.
    fn step(&mut self) -> Option<Scanned> {
        let frame = self.stack.last_mut()?;
        let Some(parent) = frame.dir.clone() else {
            // It could not be opened again: what is left in it is missing.
            self.note(What::DirUnreadable);
            self.leave();
            return None;
        };
        let reach = frame.reach;
        let Some(name) = frame.listing.next() else {
            self.leave();
            return None;
        };
        if let Err(error) = self.path.push(name) {
            let what = if error == PathError::TooLong {
                What::PathTooLong
            } else {
                What::Unreadable
            };
            self.note(what);
            return None;
        }
        let depth = self.stack.len();
        let path_name = self.path.name().to_vec();
        let scanned = self.visit(&parent, &path_name, reach);
        if self.stack.len() == depth {
            self.path.pop();
        }
        scanned
    }
}

impl Iterator for Scan {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(note) = self.notes.pop_front() {
                return Some(Found::Note(note));
            }
            let scanned = match self.base.take() {
                Some(base) => self.start(&base),
                None if self.stack.is_empty() => return None,
                None => self.step(),
            };
            if let Some(scanned) = scanned {
                return Some(Found::Entry(Box::new(scanned)));
            }
        }
    }
}

impl Scanned {
    /// Takes the entry out, once nothing else is needed of this.
    pub fn take_entry(&mut self) -> Entry {
        let nothing = Entry::new(RelPath::root(), Kind::Dir, Meta::default());
        std::mem::replace(&mut self.entry, nothing)
    }

    /// Opens a file's data, and brings the entry up to date with what was opened.
    ///
    /// The extents become the real ones here. A failure comes as the note to report; what
    /// has become something else than a file since the walk saw it is one too.
    pub fn open(&mut self) -> Result<OpenFile, Note> {
        let opened = content::open_reading(self.parent.as_fd(), self.name(), OFlags::empty());
        let checked = opened.and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = checked.map_err(|errno| self.open_failure(errno))?;
        if metadata::file_type(&stat) != FileType::RegularFile {
            return Err(Note::new(self.entry.path.clone(), What::Changed));
        }
        self.refresh(fd.as_fd(), &stat);
        self.entry.kind = content::file_kind(fd.as_fd(), &stat);
        Ok(OpenFile::new(fd, &stat))
    }

    fn name(&self) -> &[u8] {
        self.root_name
            .as_deref()
            .unwrap_or_else(|| self.entry.path.name())
    }

    fn open_failure(&self, errno: Errno) -> Note {
        let path = self.entry.path.clone();
        match errno {
            Errno::NOENT => Note::new(path, What::Vanished),
            // A link has taken the file's place.
            Errno::LOOP => Note::new(path, What::Changed),
            _ => Note::failed(path, What::FileUnreadable, errno),
        }
    }

    /// Takes over what changed between the walk and the opening.
    fn refresh(&mut self, fd: BorrowedFd<'_>, stat: &Stat) {
        let old = &self.entry.meta;
        let mut new = metadata::meta(stat, &Owners::default());
        if (old.inode, old.ctime) == (new.inode, new.ctime) && self.device == stat.st_dev {
            return;
        }
        if (old.uid, old.gid) == (new.uid, new.gid) {
            (new.user, new.group) = (old.user.clone(), old.group.clone());
        }
        new.xattrs = XattrReader::new().of_fd(fd).0;
        self.device = stat.st_dev;
        self.entry.meta = new;
    }
}

fn widened(reach: Reach, stat: &Stat) -> Reach {
    match reach {
        Reach::Whole { .. } => Reach::Whole {
            device: stat.st_dev,
        },
        Reach::WayOnly => Reach::WayOnly,
    }
}

fn is_identity(dir: &OwnedFd, wanted: Identity) -> bool {
    rustix::fs::fstat(dir).is_ok_and(|stat| Identity::of(&stat) == wanted)
}

mod roots;
#[cfg(test)]
mod tests;

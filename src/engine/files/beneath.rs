//! Opens directories below another one, without ever following a link on the way.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::path::RelPath;

/// The kernel takes paths up to 4096 bytes with the NUL; longer ones go in pieces.
const PIECE_BYTES_MAX: usize = 4000;

/// How often a lookup is tried again that a rename elsewhere has disturbed.
const DISTURBED_MAX: usize = 64;

/// Names the way lookups are kept inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// The kernel resolves a whole path and refuses links and ways out itself.
    Kernel,
    /// One component after the other, each without following a link, for kernels before 5.6.
    Stepwise,
}

impl Guard {
    /// Finds out what the kernel, or what filters its calls, permits.
    pub(super) fn detect(root: BorrowedFd<'_>) -> Self {
        match open_piece(root, b".", INSIDE) {
            Err(Errno::NOSYS | Errno::PERM) => Self::Stepwise,
            _ => Self::Kernel,
        }
    }

    /// Opens the directory `path` below `root` as a place for further calls.
    ///
    /// A link on the way or at the end is [`Errno::LOOP`] or [`Errno::NOTDIR`].
    pub(super) fn open_dir(self, root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_resolved(root, path, INSIDE)
    }

    /// Opens the directory `path` below `root` for listing.
    ///
    /// A mount on the way or at the end is [`Errno::XDEV`], as far as the kernel can tell.
    pub(super) fn open_listed(self, root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
        let held = self.open_resolved(root, path, INSIDE | ResolveFlags::NO_XDEV)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(held, c".", flags, Mode::empty())
    }

    fn open_resolved(
        self,
        root: BorrowedFd<'_>,
        path: &[u8],
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let mut dir = match self {
            _ if path.is_empty() => {
                return rustix::fs::openat(root, c".", directory_flags(), Mode::empty());
            }
            Self::Kernel => None,
            Self::Stepwise => return open_stepwise(root, path),
        };
        for piece in pieces(path) {
            let from = dir.as_ref().map_or(root, AsFd::as_fd);
            dir = Some(open_piece(from, piece, resolve)?);
        }
        dir.ok_or(Errno::NOENT)
    }

    /// Opens the parent directory of `path`, which is not the root.
    pub(super) fn open_parent(
        self,
        root: BorrowedFd<'_>,
        path: &RelPath,
    ) -> Result<OwnedFd, Errno> {
        self.open_dir(root, path.parent_bytes().ok_or(Errno::INVAL)?)
    }
}

/// Refuses every way that leads out.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

fn directory_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn open_piece(from: BorrowedFd<'_>, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = directory_flags();
    let mut result = Err(Errno::AGAIN);
    for _ in 0..DISTURBED_MAX {
        result = rustix::fs::openat2(from, path, flags, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    result
}

fn open_stepwise(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut dir: Option<OwnedFd> = None;
    for name in path.split(|&byte| byte == b'/') {
        // A RelPath has no such component; this guards against a caller's mistake.
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        let from = dir.as_ref().map_or(root, AsFd::as_fd);
        dir = Some(rustix::fs::openat(
            from,
            name,
            directory_flags(),
            Mode::empty(),
        )?);
    }
    dir.ok_or(Errno::NOENT)
}

/// Cuts a path at slashes into pieces the kernel takes.
fn pieces(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let within = rest
            .get(..PIECE_BYTES_MAX)
            .and_then(|head| head.iter().rposition(|&byte| byte == b'/'));
        let (piece, after) = match within {
            Some(slash) => (&rest[..slash], &rest[slash + 1..]),
            None => (rest, &[][..]),
        };
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;

    const GUARDS: [Guard; 2] = [Guard::Kernel, Guard::Stepwise];

    #[test]
    fn pieces_join_to_the_path() {
        let path = vec!["n".repeat(255); 40].join("/");
        let cut: Vec<&[u8]> = pieces(path.as_bytes()).collect();
        assert!(cut.len() > 2 && cut.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
        assert_eq!(cut.join(&b'/'), path.as_bytes());
        assert_eq!(pieces(b"a/b").collect::<Vec<_>>(), [b"a/b"]);
    }

    #[test]
    fn links_are_refused_wherever_they_lead() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("created");
        symlink("/", dir.path().join("a/out")).expect("linked");
        symlink("b", dir.path().join("a/in")).expect("linked");
        let root = File::open(dir.path()).expect("it can be opened");
        for guard in GUARDS {
            assert!(guard.open_dir(root.as_fd(), b"a/b").is_ok());
            assert!(guard.open_dir(root.as_fd(), b"").is_ok());
            for path in ["a/out", "a/in", "a/out/etc", "a/in/c"] {
                let refused = guard.open_dir(root.as_fd(), path.as_bytes());
                assert!(
                    matches!(refused, Err(Errno::LOOP | Errno::NOTDIR)),
                    "{guard:?} {path}"
                );
            }
            assert!(guard.open_dir(root.as_fd(), b"../x").is_err());
        }
    }
}

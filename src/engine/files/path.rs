//! Relative paths of raw bytes, checked once when they are made.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use thiserror::Error;

/// The longest name of one directory entry, in bytes.
///
/// Most file systems stop at 255; some that store UTF-16 go beyond, and the kernel itself
/// takes no path of more.
pub const NAME_BYTES_MAX: usize = 4095;

/// The longest path an entry may have, in bytes.
///
/// Linux bounds a name, not a tree's depth; this bound keeps decoders honest.
pub const PATH_BYTES_MAX: usize = 65_535;

/// Says why bytes are no [`RelPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// A component has no bytes: a leading, trailing or doubled slash.
    #[error("path has an empty component")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("path has a '.' or '..' component")]
    DotComponent,
    /// A byte is NUL.
    #[error("path contains a NUL byte")]
    Nul,
    /// A single name contains a slash.
    #[error("name contains a slash")]
    Slash,
    /// A component is longer than [`NAME_BYTES_MAX`].
    #[error("path component is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// The whole is longer than [`PATH_BYTES_MAX`].
    #[error("path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
}

/// Holds a path below some root, as raw bytes joined by slashes.
///
/// Components are non-empty, at most [`NAME_BYTES_MAX`] bytes, never `.` or `..`, without NUL. The empty
/// path is the root itself. The order is by components, compared as raw bytes: a directory
/// comes right before its descendants, and `a/x` before `a-b`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Returns the path of the root itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Checks `bytes` and returns them as a path.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if !bytes.is_empty() {
            bytes
                .split(|&byte| byte == b'/')
                .try_for_each(check_component)?;
        }
        Ok(Self(bytes))
    }

    /// Makes a path of an absolute one, as seen from `/`.
    ///
    /// Repeated slashes and `.` vanish, as they mean nothing; `..` is an error, because its
    /// meaning depends on symbolic links.
    pub fn from_absolute(path: &Path) -> Result<Self, PathError> {
        let parts = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
        let parts: Vec<&[u8]> = parts
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        Self::new(parts.join(&b'/'))
    }

    /// Returns the path of the entry `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut joined = Vec::with_capacity(self.0.len() + 1 + name.len());
        joined.extend_from_slice(&self.0);
        let mut joined = Self(joined);
        joined.push(name)?;
        Ok(joined)
    }

    /// Descends into `name`, in place.
    pub fn push(&mut self, name: &[u8]) -> Result<(), PathError> {
        if name.contains(&b'/') {
            return Err(PathError::Slash);
        }
        check_component(name)?;
        let slash = usize::from(!self.0.is_empty());
        if self.0.len() + slash + name.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        self.0.extend_from_slice(&b"/"[..slash]);
        self.0.extend_from_slice(name);
        Ok(())
    }

    /// Ascends to the parent, in place; the root stays the root.
    pub fn pop(&mut self) {
        let parent_len = self.parent_bytes().map_or(0, <[u8]>::len);
        self.0.truncate(parent_len);
    }

    /// Returns the raw bytes, components joined by slashes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as the standard library's type; empty for the root.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Tells whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self
            .0
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// Returns the parent directory, or nothing for the root.
    pub fn parent(&self) -> Option<Self> {
        self.parent_bytes().map(|bytes| Self(bytes.to_vec()))
    }

    /// Returns the parent's raw bytes without copying them, or nothing for the root.
    pub fn parent_bytes(&self) -> Option<&[u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(&self.0[..end])
    }

    /// Iterates over the components, outermost first; nothing for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Tells whether this path is `other` or lies below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(other.0.as_slice())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// Orders two raw paths as [`RelPath`]s are ordered.
    pub fn compare_bytes(left: &[u8], right: &[u8]) -> Ordering {
        // A slash sorts below every byte of a name, so that a directory's descendants come
        // before a sibling whose name merely continues the directory's.
        let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
        let rank = |path: &[u8]| {
            path.get(same)
                .map(|&byte| if byte == b'/' { 0 } else { byte })
        };
        rank(left).cmp(&rank(right))
    }
}

fn check_component(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::EmptyComponent),
        b"." | b".." => Err(PathError::DotComponent),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::NameTooLong),
        _ if name.contains(&0) => Err(PathError::Nul),
        _ => Ok(()),
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        Self::compare_bytes(&self.0, &other.0)
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            f.write_str(".")
        } else {
            fmt::Display::fmt(&Printable(&self.0), f)
        }
    }
}

/// Shows raw bytes so that no terminal acts on them.
///
/// Valid text stays as it is; control characters, characters that change the direction of
/// text, backslashes and bytes that are not UTF-8 become escapes.
#[derive(Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\\' => f.write_str("\\\\")?,
                    _ if char.is_control() || is_invisible(char) => {
                        write!(f, "{}", char.escape_default())?;
                    }
                    _ => write!(f, "{char}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

const fn is_invisible(char: char) -> bool {
    matches!(char,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a valid path")
    }

    #[test]
    fn bad_components_are_refused() {
        let long = "n".repeat(4096);
        let cases: &[(&str, PathError)] = &[
            ("/", PathError::EmptyComponent),
            ("/a", PathError::EmptyComponent),
            ("a/", PathError::EmptyComponent),
            ("a//b", PathError::EmptyComponent),
            (".", PathError::DotComponent),
            ("..", PathError::DotComponent),
            ("a/../b", PathError::DotComponent),
            ("a/./b", PathError::DotComponent),
            ("a\0", PathError::Nul),
            (&long, PathError::NameTooLong),
        ];
        for (text, expected) in cases {
            assert_eq!(RelPath::new(*text), Err(*expected), "{text:?}");
        }
        assert_eq!(
            RelPath::new("a/".repeat(40_000) + "a"),
            Err(PathError::TooLong)
        );
        assert_eq!(path("a").join(b"b/c"), Err(PathError::Slash));
        assert_eq!(path("a").join(b".."), Err(PathError::DotComponent));
    }

    #[test]
    fn a_directory_comes_right_before_its_descendants() {
        let sorted = [
            "", "a", "a/b", "a/b/c", "a/c", "a!", "a-b", "a.d", "ab", "b",
        ]
        .map(path);
        let mut shuffled = sorted.clone();
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled, sorted);
    }

    #[test]
    fn parents_names_and_prefixes_agree() {
        let deep = path("a/b/c");
        assert_eq!(deep.name(), b"c");
        assert_eq!(deep.parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert!(deep.starts_with(&path("a/b")) && deep.starts_with(&RelPath::root()));
        assert!(!path("ab").starts_with(&path("a")));
        let mut walked = deep.clone();
        walked.pop();
        walked.push(b"c").expect("a valid name");
        assert_eq!(walked, deep);
    }

    #[test]
    fn absolute_paths_lose_what_means_nothing() {
        assert_eq!(
            RelPath::from_absolute(Path::new("//srv/./data/")),
            Ok(path("srv/data"))
        );
        assert_eq!(RelPath::from_absolute(Path::new("/")), Ok(RelPath::root()));
        assert_eq!(
            RelPath::from_absolute(Path::new("/a/../b")),
            Err(PathError::DotComponent)
        );
    }

    #[test]
    fn printing_disarms_terminals() {
        let shown = |bytes: &[u8]| Printable(bytes).to_string();
        assert_eq!(shown("käse".as_bytes()), "käse");
        assert_eq!(shown(b"a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(shown(b"\xff\\"), "\\xff\\\\");
        assert_eq!(shown("\u{202e}x".as_bytes()), "\\u{202e}x");
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_component_lists(
            left in prop::collection::vec("[!-.0-9a-c]{1,3}", 0..4),
            right in prop::collection::vec("[!-.0-9a-c]{1,3}", 0..4),
        ) {
            if let (Ok(l), Ok(r)) = (RelPath::new(left.join("/")), RelPath::new(right.join("/"))) {
                prop_assert_eq!(l.cmp(&r), left.cmp(&right));
            }
        }
    }
}

//! What a scan leaves out: gitignore globs and tagged cache directories.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Mode, OFlags};
use thiserror::Error;

use super::path::RelPath;

/// The name of the file that marks a cache directory.
pub(super) const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";

/// The bytes such a file must begin with to count.
const CACHE_TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Says why a pattern excludes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExcludeError {
    /// The pattern is no glob.
    #[error("bad exclude pattern '{pattern}': {reason}")]
    Glob {
        /// The pattern as given.
        pattern: String,
        /// What the glob parser found.
        reason: String,
    },
    /// The pattern would silently match nothing.
    #[error(
        "exclude pattern '{pattern}' is empty or a comment; write '\\#' for a name that begins with '#'"
    )]
    Empty {
        /// The pattern as given.
        pattern: String,
    },
}

/// Holds compiled gitignore globs; the default excludes nothing.
///
/// A pattern with a slash at its start or middle is anchored at the root of the entries'
/// paths, one with a slash at its end matches directories, `!` takes an earlier match back,
/// and the last match counts. Nothing below an excluded directory is looked at.
#[derive(Debug, Clone)]
pub struct Excludes(Gitignore);

impl Default for Excludes {
    fn default() -> Self {
        Self(Gitignore::empty())
    }
}

impl Excludes {
    /// Compiles the patterns, in order.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, ExcludeError> {
        let mut builder = GitignoreBuilder::new("");
        // Taken as plain text, a mistyped class would silently exclude nothing.
        builder.allow_unclosed_class(false);
        for pattern in patterns {
            let pattern = pattern.as_ref();
            if pattern.trim().is_empty() || pattern.starts_with('#') {
                return Err(ExcludeError::Empty {
                    pattern: pattern.to_owned(),
                });
            }
            builder
                .add_line(None, pattern)
                .map_err(|error| bad_glob(pattern, &error))?;
        }
        builder
            .build()
            .map(Self)
            .map_err(|error| bad_glob("", &error))
    }

    /// Tells whether the patterns leave `path` out, not regarding its parents.
    pub fn excludes(&self, path: &RelPath, is_dir: bool) -> bool {
        !self.0.is_empty()
            && !path.is_root()
            && matches!(self.0.matched(path.as_path(), is_dir), Match::Ignore(_))
    }
}

fn bad_glob(pattern: &str, error: &ignore::Error) -> ExcludeError {
    ExcludeError::Glob {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    }
}

/// Tells whether `dir` holds a cache tag with the right signature.
pub(super) fn has_cache_tag(dir: impl AsFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(tag) = rustix::fs::openat(dir, CACHE_TAG_NAME, flags, Mode::empty()) else {
        return false;
    };
    let regular = rustix::fs::fstat(&tag)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let mut head = [0; CACHE_TAG_SIGNATURE.len()];
    regular
        && rustix::io::pread(&tag, &mut head, 0)
            .is_ok_and(|len| head[..len] == *CACHE_TAG_SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_follow_gitignore() {
        let excludes = Excludes::new([
            "*.tmp",
            "!keep.tmp",
            "/cache",
            "build/",
            "a/**/z",
            "\\#x",
            "*.o",
        ])
        .expect("valid patterns");
        let cases: &[(&[u8], bool, bool)] = &[
            (b"x.tmp", false, true),
            (b"deep/down/x.tmp", false, true),
            (b"keep.tmp", false, false),
            (b"cache", true, true),
            (b"sub/cache", true, false),
            (b"build", true, true),
            (b"build", false, false),
            (b"a/b/c/z", false, true),
            (b"#x", false, true),
            (b"\xff\xfe.o", false, true),
            (b"plain", false, false),
            (b"", true, false),
        ];
        for (path, is_dir, expected) in cases {
            let path = RelPath::new(*path).expect("a valid path");
            assert_eq!(excludes.excludes(&path, *is_dir), *expected, "{path}");
        }
    }

    #[test]
    fn useless_patterns_are_errors() {
        for pattern in ["", "  ", "# note"] {
            assert!(
                matches!(Excludes::new([pattern]), Err(ExcludeError::Empty { .. })),
                "{pattern:?}"
            );
        }
        let error = Excludes::new(["a{b"]).expect_err("an unclosed brace");
        assert!(
            error.to_string().starts_with("bad exclude pattern 'a{b': "),
            "{error}"
        );
    }

    #[test]
    fn a_class_without_an_end_is_an_error_that_names_the_pattern() {
        for pattern in ["[", "a[b", "*.[ch", "[!]", "x/[a-z", "[]"] {
            let error = Excludes::new(["*.tmp", pattern]).expect_err(pattern);
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("bad exclude pattern '{pattern}': ")),
                "{error}"
            );
        }
        Excludes::new(["[ab]", "[]]", "\\[", "[!a]*"]).expect("classes with an end");
    }

    #[test]
    fn only_a_signed_tag_marks_a_cache() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fd = std::fs::File::open(dir.path()).expect("it can be opened");
        assert!(!has_cache_tag(&fd));
        let tag = dir.path().join("CACHEDIR.TAG");
        std::fs::write(&tag, "Signature: 8a477f597d28d172789f06886806bc5").expect("written");
        assert!(!has_cache_tag(&fd));
        std::fs::write(
            &tag,
            "Signature: 8a477f597d28d172789f06886806bc55\n# made by a tool",
        )
        .expect("written");
        assert!(has_cache_tag(&fd));
    }
}

//! Trees for tests: made with the standard library, copied by a scan and a placement.

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, XattrFlags};
use tempfile::TempDir;

use super::*;

/// One entry with a file's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) entry: Entry,
    pub(super) data: Vec<u8>,
}

pub(super) fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a valid path")
}

pub(super) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("not root: owners and devices are left out");
    }
    root
}

#[expect(
    clippy::print_stdout,
    reason = "what a test leaves out must show in its output"
)]
pub(in crate::engine) fn skipped(why: &str) {
    println!("{why}");
}

pub(super) fn walk(roots: &[&Path], options: ScanOptions) -> (Vec<Seen>, Vec<Note>) {
    let roots: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    let scan = Scan::new(&roots, Owners::of_this_machine(), options).expect("roots that exist");
    let (mut seen, mut notes) = (Vec::new(), Vec::new());
    for found in scan {
        match found {
            Found::Note(note) => notes.push(note),
            Found::Entry(mut scanned) => {
                let data = if matches!(scanned.entry.kind, Kind::File { .. }) {
                    let open = scanned.open().expect("a readable file");
                    let mut data = Vec::new();
                    open.data(&scanned.entry.kind)
                        .read_to_end(&mut data)
                        .expect("it can be read");
                    assert!(!open.has_changed().expect("it can be asked"));
                    data
                } else {
                    Vec::new()
                };
                assert_eq!(scanned.entry.check(), Ok(()), "{}", scanned.entry.path);
                seen.push(Seen {
                    entry: scanned.entry,
                    data,
                });
            }
        }
    }
    assert!(
        seen.windows(2)
            .all(|pair| pair[0].entry.path < pair[1].entry.path),
        "paths ascend"
    );
    (seen, notes)
}

pub(super) fn walk_one(root: &Path) -> Vec<Seen> {
    let (seen, notes) = walk(&[root], ScanOptions::default());
    assert_eq!(notes, []);
    seen
}

pub(super) fn paths(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .map(|seen| seen.entry.path.to_string())
        .collect()
}

pub(super) fn find<'a>(seen: &'a [Seen], path: &str) -> &'a Seen {
    seen.iter()
        .find(|seen| seen.entry.path.to_string() == path)
        .expect("the walk saw it")
}

pub(super) fn place_all(target: &Target, seen: &[Seen]) -> Result<(), PlaceError> {
    for Seen { entry, data } in seen {
        if let Placed::File(file) = target.place(entry)? {
            let Kind::File { extents, .. } = &entry.kind else {
                continue;
            };
            let mut pieces = Vec::new();
            let mut rest = data.as_slice();
            for extent in extents {
                let (piece, after) =
                    rest.split_at(usize::try_from(extent.len).expect("small files"));
                pieces.push((extent.offset, piece));
                rest = after;
            }
            // Last piece first, as a restore does not wait for the order.
            for (offset, piece) in pieces.into_iter().rev() {
                file.write_at(piece, offset)?;
            }
            target.finish_file(&file)?;
        }
    }
    Ok(())
}

/// Copies a tree and asserts that a second walk sees no difference.
pub(super) fn assert_round_trip(source: &Path) {
    let into = temporary();
    let copy = into.path().join("copy");
    let before = walk_one(source);
    assert_survives_encoding(&before);
    let target = Target::open(&copy, Existing::Refuse).expect("a fresh target");
    place_all(&target, &before).expect("everything can be placed");
    let (notes, _) = target.finish();
    assert_eq!(notes.kept(), []);
    let after = walk_one(&copy);
    assert_same(&before, &after);
}

fn assert_survives_encoding(seen: &[Seen]) {
    let mut encoder = Encoder::new();
    for seen in seen {
        encoder
            .push(&seen.entry)
            .expect("what a walk yields can be kept");
    }
    let run = encoder.finish();
    let decoded: Result<Vec<Entry>, DecodeError> = Decoder::new(&run).collect();
    assert!(decoded.is_ok_and(|decoded| decoded.iter().eq(seen.iter().map(|seen| &seen.entry))));
}

pub(super) fn assert_same(before: &[Seen], after: &[Seen]) {
    let entries = |seen: &[Seen]| {
        seen.iter()
            .map(|seen| seen.entry.clone())
            .collect::<Vec<_>>()
    };
    let differences: Vec<String> = compare_trees(entries(before), entries(after))
        .map(|difference| difference.to_string())
        .collect();
    assert_eq!(differences, Vec::<String>::new());
    for (before, after) in before.iter().zip(after) {
        assert!(
            before.data == after.data,
            "data of {} differs",
            before.entry.path
        );
    }
}

pub(super) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
        .expect("the file system takes attributes");
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).expect("the mode can be set");
}

/// Makes a tree with one of every kind, as far as rights permit.
pub(super) fn make_every_kind(root: &Path) {
    use std::fs::{File, create_dir, hard_link, write};
    use std::os::unix::fs::FileExt;

    let at = |name: &str| root.join(name);
    create_dir(at("dir")).expect("created");
    create_dir(at("dir/empty")).expect("created");
    write(at("dir/file"), "data").expect("written");
    write(at("empty"), "").expect("written");
    hard_link(at("dir/file"), at("other-name")).expect("linked");
    hard_link(at("dir/file"), at("dir/third")).expect("linked");
    symlink("dir/file", at("link")).expect("linked");
    symlink("/nowhere/\u{1b}", at("dangling")).expect("linked");
    let sparse = File::create(at("sparse")).expect("created");
    sparse.write_all_at(&[7; 5000], 1 << 20).expect("written");
    sparse.set_len((3 << 20) + 17).expect("extended");
    let hole = File::create(at("hole")).expect("created");
    hole.set_len(1 << 20).expect("extended");
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o640)).expect("made");
    // Only root can read what nobody may.
    set_mode(&at("empty"), if is_root() { 0o000 } else { 0o400 });
    set_mode(&at("dir/empty"), 0o1777);
    set_xattr(&at("dir/file"), "user.note", b"\0\xff");
    set_xattr(&at("dir"), "user.empty", b"");
    set_xattr(&at("dir"), "user.large", &[3; 3000]);
    if is_root() {
        rustix::fs::mknodat(
            CWD,
            at("null"),
            rustix::fs::FileType::CharacterDevice,
            Mode::RUSR,
            rustix::fs::makedev(1, 3),
        )
        .expect("made");
        rustix::fs::mknodat(
            CWD,
            at("loop"),
            rustix::fs::FileType::BlockDevice,
            Mode::RUSR,
            rustix::fs::makedev(7, 200),
        )
        .expect("made");
        std::os::unix::fs::chown(at("dir/file"), Some(1234), Some(4321)).expect("owned");
        std::os::unix::fs::lchown(at("link"), Some(12), Some(34)).expect("owned");
        set_xattr(&at("link"), "trusted.of-link", b"x");
        set_xattr(&at("fifo"), "trusted.of-fifo", b"y");
    }
    // The owner changed above, which clears these bits.
    set_mode(&at("dir/file"), 0o6755);
    for (index, name) in ["link", "fifo", "sparse", "dir/file", "dir", ""]
        .iter()
        .enumerate()
    {
        set_mtime(&at(name), 1_000_000_000 + index as i64, 123_456_789);
    }
    assert!(
        std::fs::metadata(at("fifo"))
            .expect("made")
            .file_type()
            .is_fifo()
    );
}

pub(super) fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .expect("times can be set");
}

pub(super) fn blocks(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).expect("it exists").blocks()
}

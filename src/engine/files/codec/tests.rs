//! The laws of the run format, and its bytes pinned by an example.

use proptest::prelude::*;

use super::*;
use crate::engine::files::{PathError, Xattr};

fn decode(run: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    Decoder::new(run).collect()
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for entry in entries {
        encoder.push(entry).expect("valid entries in order");
    }
    encoder.finish()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a valid path")
}

fn sample() -> Vec<Entry> {
    let owner: Option<Arc<[u8]>> = Some(b"ann".as_slice().into());
    let meta = Meta {
        mode: 0o755,
        uid: 1000,
        gid: 1000,
        user: owner,
        group: None,
        mtime: Time {
            seconds: -2,
            nanos: 7,
        },
        ctime: Time {
            seconds: 3,
            nanos: 0,
        },
        inode: 500,
        links: 2,
        xattrs: Vec::new(),
    };
    let file_meta = Meta {
        mode: 0o644,
        inode: 499,
        xattrs: vec![Xattr {
            name: b"user.a".to_vec(),
            value: b"v".to_vec(),
        }],
        ..meta.clone()
    };
    let mut sparse = Entry::new(
        path("f"),
        Kind::File {
            size: 300,
            extents: vec![Extent { offset: 10, len: 5 }],
        },
        file_meta,
    );
    sparse.spans = vec![
        Span {
            chunk: [9; 32],
            offset: 1,
            len: 2,
        },
        Span {
            chunk: [9; 32],
            offset: 3,
            len: 3,
        },
    ];
    vec![
        Entry::new(RelPath::root(), Kind::Dir, meta.clone()),
        sparse,
        Entry::new(path("fl"), Kind::Fifo, meta),
    ]
}

#[test]
fn the_bytes_of_a_run_are_these() {
    let mut expected: Vec<u8> = Vec::new();
    // The root: nothing shared, nothing more; directory; 0755; 1000:1000, "ann", no group.
    expected.extend([
        0, 0, 0, 0xed, 0x03, 0xe8, 0x07, 0xe8, 0x07, 4, b'a', b'n', b'n', 0,
    ]);
    // Modified at -2 s and 7 ns, changed at 3 s, inode +500, two links.
    expected.extend([3, 7, 6, 0, 0xe8, 0x07, 2]);
    // "f": sparse file, same owner, xattrs; 0644; same times; inode -1; two links; one xattr.
    expected.extend([0, 1, b'f', 0x31, 0xa4, 0x03, 3, 7, 6, 0, 1, 2]);
    expected.extend([1, 6, b'u', b's', b'e', b'r', b'.', b'a', 1, b'v']);
    // 300 bytes, one extent after 10 bytes, 5 long; two spans of one chunk.
    expected.extend([0xac, 0x02, 1, 10, 5, 2, 0]);
    expected.extend([9; 32]);
    expected.extend([1, 2, 3, 3]);
    // "fl" shares one byte; fifo, same owner; 0755; inode +1.
    expected.extend([1, 1, b'l', 0x16, 0xed, 0x03, 3, 7, 6, 0, 2, 2]);
    assert_eq!(encode(&sample()), expected);
    assert_eq!(decode(&expected).as_deref(), Ok(sample().as_slice()));
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_run() {
    let whole = encode(&sample());
    for len in 0..whole.len() {
        if let Ok(entries) = decode(&whole[..len]) {
            assert!(
                sample().starts_with(&entries) && entries.len() < 3,
                "cut at {len}"
            );
        }
    }
}

#[test]
fn a_run_is_ascending() {
    let meta = Meta::default();
    let mut encoder = Encoder::new();
    encoder
        .push(&Entry::new(path("b"), Kind::Dir, meta.clone()))
        .expect("the first is free");
    let before = encoder.len();
    for late in ["", "a", "b"] {
        let entry = Entry::new(path(late), Kind::Dir, meta.clone());
        assert_eq!(encoder.push(&entry), Err(EncodeError::Order));
    }
    assert_eq!(encoder.len(), before);
    // Twice the same path: shares one byte, adds none.
    let once = encoder.finish();
    let twice = [once.as_slice(), &[1, 0, SAME_OWNER, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(decode(&twice), Err(DecodeError::Order));
}

#[test]
fn lying_lengths_are_refused_before_memory_is_taken() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let tail = |fields: &[u8]| [&[0, 1, b'a'], fields].concat();
    let cases: &[(&str, Vec<u8>, DecodeError)] = &[
        (
            "path",
            [&[0], huge.as_slice()].concat(),
            DecodeError::Length,
        ),
        (
            "shared",
            [huge.as_slice(), &[1, b'a']].concat(),
            DecodeError::Shared,
        ),
        (
            "xattrs",
            [
                &tail(&[HAS_XATTRS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                huge.as_slice(),
            ]
            .concat(),
            DecodeError::Length,
        ),
        (
            "spans",
            [
                &tail(&[1 | DENSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
                huge.as_slice(),
            ]
            .concat(),
            DecodeError::Length,
        ),
        (
            "extents",
            [
                &tail(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
                huge.as_slice(),
            ]
            .concat(),
            DecodeError::Length,
        ),
        (
            "user",
            [&tail(&[0, 0, 0, 0]), huge.as_slice()].concat(),
            DecodeError::Length,
        ),
        (
            "mode",
            [&tail(&[0]), huge.as_slice()].concat(),
            DecodeError::Number,
        ),
        ("long zero", vec![0x80, 0], DecodeError::Number),
        (
            "kind",
            tail(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            DecodeError::Head(7),
        ),
        ("flag", tail(&[0x80]), DecodeError::Head(0x80)),
        (
            "dense dir",
            tail(&[DENSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            DecodeError::Head(DENSE),
        ),
        (
            "parent",
            vec![0, 4, b'a', b'/', b'.', b'.'],
            DecodeError::Path(PathError::DotComponent),
        ),
        (
            "absolute",
            vec![0, 2, b'/', b'a'],
            DecodeError::Path(PathError::EmptyComponent),
        ),
    ];
    for (what, run, expected) in cases {
        assert_eq!(decode(run), Err(*expected), "{what}");
    }
}

fn names() -> impl Strategy<Value = Option<Arc<[u8]>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..9).prop_map(Arc::from))
}

fn times() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0_u32..1_000_000_000).prop_map(|(seconds, nanos)| Time { seconds, nanos })
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let value = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::btree_map("[a-z.]{1,6}", value, 0..3).prop_map(|map| {
        map.into_iter()
            .map(|(name, value)| Xattr {
                name: name.into_bytes(),
                value,
            })
            .collect()
    })
}

fn metas() -> impl Strategy<Value = Meta> {
    let numbers = (
        0_u32..0o10000,
        0_u32..3,
        any::<u32>(),
        any::<u64>(),
        any::<u64>(),
    );
    (numbers, names(), names(), times(), times(), xattrs()).prop_map(
        |((mode, uid, gid, inode, links), user, group, mtime, ctime, xattrs)| Meta {
            mode,
            uid,
            gid,
            user,
            group,
            mtime,
            ctime,
            inode,
            links,
            xattrs,
        },
    )
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (0_u8..3, 0_u32..4, 1_u32..4);
    prop::collection::vec(
        span.prop_map(|(id, offset, len)| Span {
            chunk: [id; 32],
            offset,
            len,
        }),
        0..5,
    )
}

fn kinds() -> impl Strategy<Value = Kind> {
    let bytes = prop::collection::vec(1_u8.., 1..20);
    let extents = prop::collection::vec((1_u64..1 << 40, 1_u64..1 << 40), 0..4);
    let sparse = (extents, 0_u64..9).prop_map(|(pieces, tail)| {
        let mut end = 0;
        let extents: Vec<Extent> = pieces
            .into_iter()
            .map(|(gap, len)| {
                let extent = Extent {
                    offset: end + gap,
                    len,
                };
                end = extent.end();
                extent
            })
            .collect();
        Kind::File {
            size: end + tail,
            extents,
        }
    });
    prop_oneof![
        Just(Kind::Dir),
        any::<u64>().prop_map(Kind::dense_file),
        sparse,
        bytes.prop_map(|target| Kind::Symlink { target }),
        Just(Kind::Hardlink { to: path("!") }),
        any::<(u32, u32)>().prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        any::<(u32, u32)>().prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        Just(Kind::Fifo),
    ]
}

fn runs() -> impl Strategy<Value = Vec<Entry>> {
    let name = prop::collection::vec(prop_oneof![Just(b'x'), b'0'..=b'9', 0x80_u8..], 1..4);
    let paths = prop::collection::btree_set(prop::collection::vec(name, 1..4), 0..12);
    paths
        .prop_flat_map(|paths| {
            let count = paths.len();
            (
                Just(paths),
                prop::collection::vec((kinds(), metas(), spans()), count),
            )
        })
        .prop_map(|(paths, rest)| {
            let entries = paths
                .into_iter()
                .zip(rest)
                .map(|(parts, (kind, meta, spans))| {
                    let path = RelPath::new(parts.join(&b'/')).expect("names of harmless bytes");
                    let spans = if matches!(kind, Kind::File { .. }) {
                        spans
                    } else {
                        Vec::new()
                    };
                    Entry {
                        path,
                        kind,
                        meta,
                        spans,
                    }
                });
            entries.collect()
        })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(run in runs()) {
        prop_assert_eq!(decode(&encode(&run)), Ok(run));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for entry in Decoder::new(&bytes).flatten() {
            prop_assert_eq!(entry.check(), Ok(()));
        }
    }

    #[test]
    fn damaged_runs_decode_to_what_encodes_back(run in runs(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&run);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(entries) = decode(&bytes) {
            prop_assert_eq!(encode(&entries), bytes);
        }
    }
}

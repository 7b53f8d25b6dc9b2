//! Every decoder of bytes that others may have written, as functions to be fuzzed.
//!
//! The targets in `tests/fuzz` and a plain test run the same functions over the same corpora.
//! Each returns whether it accepted the bytes; none may panic, whatever they are.

use std::sync::Arc;

use crate::config::{Files, FilesError, format_text, load};
use crate::engine::compress::Codec;
use crate::engine::crypto::{
    KeyFile, PassphraseSlot, ReadingKey, RecoveryCode, SealedSession, SessionKey, WriterKey,
};
use crate::engine::env::{Clock, Env};
use crate::engine::files::{Decoder, Encoder, Excludes};
use crate::engine::manifest::{Clear, Manifest};
use crate::engine::pack::{HEADER_BYTES, PackView, split_blob};
use crate::engine::store::{Memory, Receipt, Store, StoreName};
use crate::engine::tree::{Leaf, Node, Refs, decode_spans};
use crate::engine::{Access, Marker, Repository, index};
use crate::run::frame::read_frame;
use crate::run::peer::Head;

/// Is one decoder under the name of its corpus.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Decodes, and tells whether the bytes made sense.
    pub run: fn(&[u8]) -> bool,
}

/// Every decoder.
pub const TARGETS: &[Target] = &[
    target("marker", marker),
    target("manifest", manifest),
    target("pack", pack),
    target("blob", blob),
    target("session", session),
    target("index", |bytes| index::decode(bytes).is_ok()),
    target("leaf", |bytes| Leaf::decode(bytes).is_ok()),
    target("entries", entries),
    target("node", node),
    target("refs", refs),
    target("spans", |bytes| decode_spans(bytes).is_ok()),
    target("slot", |bytes| PassphraseSlot::decode(bytes).is_ok()),
    target("key-file", |bytes| {
        text(bytes).is_some_and(|text| KeyFile::parse(text).is_ok())
    }),
    target("recovery-code", |bytes| {
        text(bytes).is_some_and(|text| RecoveryCode::parse(text).is_ok())
    }),
    target("writer-key", |bytes| WriterKey::decode(bytes).is_ok()),
    target("receipt", |bytes| Receipt::decode(bytes).is_ok()),
    target("condemned", condemned),
    target("ledger", crate::engine::is_ledger),
    target("cache", crate::engine::is_cache_record),
    target("frames", frames),
    target("names", names),
    target("excludes", excludes),
    target("topology", topology),
];

const fn target(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target { name, run }
}

/// Returns the key that opens what the corpora hold.
pub fn key() -> ReadingKey {
    ReadingKey::from_seed(&[42; 32])
}

struct NoClock;

impl Clock for NoClock {
    fn now_ns(&self) -> i64 {
        0
    }
}

/// Returns a store in memory with one file, if the store takes the file.
fn store_with(name: &StoreName, bytes: &[u8]) -> Option<Arc<Memory>> {
    let store = Memory::new(Arc::new(NoClock));
    store.put(name, bytes).ok()?;
    Some(Arc::new(store))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn marker(bytes: &[u8]) -> bool {
    let Some(store) = store_with(&StoreName::marker(), bytes) else {
        return false;
    };
    let accepted = Marker::read(&*store).is_ok();
    let opened = Repository::open(store, Env::system(), Access::Reader(key()));
    accepted && opened.is_ok()
}

fn manifest(bytes: &[u8]) -> bool {
    // The name is the content's own, so that what follows the check of the name is reached.
    let line = bytes.split(|byte| *byte == b'\n').next();
    let named = line.and_then(|line| serde_json::from_slice::<Clear>(line).ok());
    let name = named.and_then(|clear| clear.name().ok());
    let name = name.unwrap_or_else(StoreName::marker);
    let Ok(manifest) = Manifest::decode(&name, bytes) else {
        return false;
    };
    manifest.open(&name, &key()).is_ok()
}

fn pack(bytes: &[u8]) -> bool {
    let Ok(view) = PackView::parse(bytes) else {
        return false;
    };
    let segment = index::encode(&[view.entries(true)]);
    assert!(index::decode(&segment).is_ok(), "a pack can be indexed");
    view.check().is_ok()
}

/// Opens a blob, with its first bytes as what a session's key would have made of the payload.
fn blob(bytes: &[u8]) -> bool {
    let Some((header, payload)) = split_blob(bytes) else {
        return false;
    };
    let Ok(mut codec) = Codec::new() else {
        return false;
    };
    header.open(payload, None, &mut codec).is_ok() && payload.len() + HEADER_BYTES == bytes.len()
}

fn session(bytes: &[u8]) -> bool {
    let Some((sealed, rest)) = SealedSession::decode(bytes) else {
        return false;
    };
    let mut again = Vec::new();
    sealed.encode(&mut again);
    assert_eq!(again, bytes[..bytes.len() - rest.len()], "one way to write");
    let opened: Result<SessionKey, _> = sealed.open(&key());
    rest.is_empty() && opened.is_ok()
}

fn entries(bytes: &[u8]) -> bool {
    let Ok(entries) = Decoder::new(bytes).collect::<Result<Vec<_>, _>>() else {
        return false;
    };
    let mut encoder = Encoder::default();
    for entry in &entries {
        encoder.push(entry).expect("what was decoded encodes");
    }
    assert_eq!(encoder.finish(), bytes, "there is one way to write a run");
    true
}

fn node(bytes: &[u8]) -> bool {
    let decoded = Node::decode(bytes);
    decoded.is_ok_and(|node| {
        assert_eq!(node.encode(), bytes, "there is one way to write a node");
        true
    })
}

fn refs(bytes: &[u8]) -> bool {
    let decoded = Refs::decode(bytes);
    decoded.is_ok_and(|refs| {
        assert_eq!(refs.encode(), bytes, "there is one way to write references");
        true
    })
}

fn condemned(bytes: &[u8]) -> bool {
    let name = StoreName::parse("gc/000000000001").expect("a good name");
    store_with(&name, bytes).is_some_and(|store| crate::engine::condemned(&*store).is_ok())
}

fn frames(mut bytes: &[u8]) -> bool {
    while let Ok(frame) = read_frame::<Head>(&mut bytes) {
        if frame.is_none() {
            return true;
        }
    }
    false
}

fn names(bytes: &[u8]) -> bool {
    text(bytes).is_some_and(|text| {
        StoreName::parse(text).is_ok_and(|name| {
            assert_eq!(name.as_str(), text, "a name is its text");
            let folder = name.folder().as_str();
            assert!(!text.contains("..") || text.split('/').all(|part| part != ".."));
            assert!(folder.is_empty() || text.starts_with(folder));
            true
        })
    })
}

fn excludes(bytes: &[u8]) -> bool {
    let lines: Option<Vec<String>> =
        text(bytes).map(|text| text.lines().map(str::to_owned).collect());
    lines.is_some_and(|lines| Excludes::new(&lines).is_ok())
}

/// Gives one text under every name.
struct OneFile<'a>(&'a str);

impl Files for OneFile<'_> {
    fn read(&mut self, path: &str) -> Result<String, FilesError> {
        match path {
            "topology.kdl" => Ok(self.0.to_owned()),
            _ => Err(FilesError::NotFound),
        }
    }

    fn list(&mut self, _: &str) -> Result<Vec<String>, FilesError> {
        Ok(Vec::new())
    }
}

fn topology(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else {
        return false;
    };
    for old in [false, true] {
        let made = format_text("topology.kdl", text, old);
        if let Some(form) = made.files.into_iter().find_map(|file| file.after) {
            let again = format_text("topology.kdl", &form, old);
            assert_eq!(again.files[0].after.as_ref(), Some(&form), "a form changes");
        }
    }
    load("topology.kdl", "/etc/backup", &mut OneFile(text))
        .topology
        .is_some()
}

//! Turns entries into the leaves and nodes of a tree, and into its references.

use super::stats::Stage;
use crate::engine::compress::Codec;
use crate::engine::error::EngineError;
use crate::engine::files::Entry;
use crate::engine::manifest::codec;
use crate::engine::pack::BlobKind;
use crate::engine::tree::{Child, LeafBuilder, NodeBuilder, RefsBuilder, TreeError};
use crate::engine::writer::Writer;

/// Holds the roots of what a snapshot is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roots {
    pub(super) tree: [u8; 32],
    pub(super) refs: [u8; 32],
}

/// Writes a tree from entries in path order.
pub(super) struct TreeWriter<'a> {
    writer: &'a Writer<'a>,
    codec: Codec,
    leaf: LeafBuilder,
    nodes: NodeBuilder,
    refs: RefsBuilder,
}

impl<'a> TreeWriter<'a> {
    pub(super) fn new(writer: &'a Writer<'a>) -> Result<Self, EngineError> {
        Ok(Self {
            writer,
            codec: codec()?,
            leaf: LeafBuilder::new(),
            nodes: NodeBuilder::new(),
            refs: RefsBuilder::new(),
        })
    }

    /// Appends an entry whose spans are known, and leaves it as it was.
    pub(super) fn push(&mut self, entry: &mut Entry) -> Result<(), EngineError> {
        for span in &entry.spans {
            self.refs.push(span.chunk);
        }
        let mut spilled = Vec::new();
        for list in LeafBuilder::span_lists(entry) {
            let id = self.writer.put(BlobKind::Spans, &list, &mut self.codec)?;
            self.refs.push(id);
            spilled.push(id);
        }
        self.leaf
            .push(entry, spilled)
            .map_err(|error| bad_entry(entry, &error))?;
        if self.leaf.is_full() {
            self.end_leaf()?;
        }
        Ok(())
    }

    fn end_leaf(&mut self) -> Result<(), EngineError> {
        if let Some((first, bytes)) = self.leaf.take() {
            let put = || self.writer.put(BlobKind::Leaf, &bytes, &mut self.codec);
            let id = self.writer.stages.time(Stage::Seal, put)?;
            self.refs.push_leaf(id);
            self.nodes.push(Child { id, first });
        }
        Ok(())
    }

    /// Writes what is left and returns the roots.
    pub(super) fn finish(mut self) -> Result<Roots, EngineError> {
        self.end_leaf()?;
        let Self {
            writer,
            mut codec,
            nodes,
            mut refs,
            ..
        } = self;
        let tree = nodes.finish(|bytes| {
            let id = writer.put(BlobKind::Node, &bytes, &mut codec)?;
            refs.push(id);
            Ok::<_, EngineError>(id)
        })?;
        let refs = refs.finish(|bytes| writer.put(BlobKind::Refs, &bytes, &mut codec))?;
        Ok(Roots { tree, refs })
    }
}

fn bad_entry(entry: &Entry, error: &TreeError) -> EngineError {
    let reason = std::error::Error::source(error)
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    EngineError::damaged(format!("entry {}", entry.path), reason)
}

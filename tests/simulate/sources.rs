//! What is backed up: streams in memory and small trees on the disk of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::rng::Rng;

/// The paths of a snapshot below its root, and the bytes of those that are files.
pub(crate) type Content = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

const SMALL_STREAMS: usize = 6;
const TREES: usize = 4;

/// Keeps everything that is backed up; made once and only read afterwards.
pub(crate) struct Sources {
    folder: tempfile::TempDir,
    streams: Vec<Vec<u8>>,
    stream_contents: Vec<Content>,
    tree_contents: Vec<Content>,
}

impl Sources {
    pub(crate) fn new() -> io::Result<Self> {
        let mut rng = Rng::new(0);
        let small = (0..SMALL_STREAMS).map(|number| noise(&mut rng, number * 900));
        let mut streams: Vec<_> = small.collect();
        // Two that are cut into several chunks, which share some.
        let large = noise(&mut rng, 1_600_000);
        streams.push(large.clone());
        streams.push([noise(&mut rng, 5000), large].concat());
        let stream_contents = streams
            .iter()
            .map(|bytes| {
                Content::from([
                    (Vec::new(), None),
                    (b"stream".to_vec(), Some(bytes.clone())),
                ])
            })
            .collect();
        let mut sources = Self {
            folder: tempfile::tempdir()?,
            streams,
            stream_contents,
            tree_contents: Vec::new(),
        };
        for number in 0..TREES {
            let content = sources.plant(number, &mut rng)?;
            sources.tree_contents.push(content);
        }
        Ok(sources)
    }

    /// Makes a tree on this machine's disk.
    fn plant(&self, number: usize, rng: &mut Rng) -> io::Result<Content> {
        let root = self.tree(number);
        fs::create_dir(&root)?;
        let mut content = Content::from([(Vec::new(), None)]);
        for folder in ["a", "b"].into_iter().take(number) {
            fs::create_dir(root.join(folder))?;
            content.insert(folder.as_bytes().to_vec(), None);
            for file in 0..=number {
                let path = format!("{folder}/{file}");
                // The trees share the first file of each folder.
                let bytes = match file {
                    0 => folder.as_bytes().repeat(700),
                    _ => noise(rng, file * 1100),
                };
                fs::write(root.join(&path), &bytes)?;
                content.insert(path.into_bytes(), Some(bytes));
            }
        }
        Ok(content)
    }

    /// Picks a stream; seldom one of the large ones, which take time.
    pub(crate) fn pick_stream(rng: &mut Rng) -> usize {
        if rng.one_in(60) {
            SMALL_STREAMS + rng.index(2)
        } else {
            rng.index(SMALL_STREAMS)
        }
    }

    pub(crate) fn pick_tree(rng: &mut Rng) -> usize {
        rng.index(TREES)
    }

    pub(crate) fn stream(&self, number: usize) -> &[u8] {
        &self.streams[number]
    }

    pub(crate) fn stream_content(&self, number: usize) -> &Content {
        &self.stream_contents[number]
    }

    pub(crate) fn tree(&self, number: usize) -> PathBuf {
        self.folder.path().join(number.to_string())
    }

    pub(crate) fn tree_content(&self, number: usize) -> &Content {
        &self.tree_contents[number]
    }
}

fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8)).map(|_| rng.next().to_le_bytes());
    let mut bytes = words.collect::<Vec<_>>().concat();
    bytes.truncate(len);
    bytes
}

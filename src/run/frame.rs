//! Frames: how messages travel over a pair of byte streams.
//!
//! A frame is `u32` head length, `u32` body length (both little-endian), the head as
//! JSON, the body as raw bytes. Heads are bounded by [`HEAD_MAX`], bodies by
//! [`BODY_MAX`]; a length above its bound ends the connection before anything is
//! allocated.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest head in bytes.
pub const HEAD_MAX: u32 = 1 << 20;

/// The longest body in bytes: a pack that has grown, and room.
pub const BODY_MAX: u32 = 256 << 20;

/// Writes one frame and flushes it.
pub fn write_frame(to: &mut impl Write, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let too_long = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{what} is too long for a frame"),
        )
    };
    let head_len = u32::try_from(head.len())
        .ok()
        .filter(|n| *n <= HEAD_MAX)
        .ok_or_else(|| too_long("a head"))?;
    let body_len = u32::try_from(body.len())
        .ok()
        .filter(|n| *n <= BODY_MAX)
        .ok_or_else(|| too_long("a body"))?;
    let mut start = Vec::with_capacity(8 + head.len());
    start.extend_from_slice(&head_len.to_le_bytes());
    start.extend_from_slice(&body_len.to_le_bytes());
    start.extend_from_slice(&head);
    to.write_all(&start)?;
    to.write_all(body)?;
    to.flush()
}

/// Reads one frame; `None` is a clean end between frames.
pub fn read_frame<H: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(H, Vec<u8>)>> {
    let mut lengths = [0; 8];
    match read_full(from, &mut lengths)? {
        0 => return Ok(None),
        8 => {}
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    let (head_len, body_len) = lengths.split_at(4);
    let head_len = u32::from_le_bytes(head_len.try_into().expect("four bytes"));
    let body_len = u32::from_le_bytes(body_len.try_into().expect("four bytes"));
    if head_len > HEAD_MAX || body_len > BODY_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the other end does not speak this protocol: a frame's length is out of bounds",
        ));
    }
    let head = read_bytes(from, head_len)?;
    let body = read_bytes(from, body_len)?;
    let head = serde_json::from_slice(&head).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message was not understood: {error}"),
        )
    })?;
    Ok(Some((head, body)))
}

/// Reads as much as there is into the buffer and returns how much that was.
fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads exactly `len` bytes, growing with what arrives rather than with what was promised.
fn read_bytes(from: &mut impl Read, len: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity((len as usize).min(1 << 20));
    from.take(u64::from(len)).read_to_end(&mut bytes)?;
    if bytes.len() < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_survives_the_way() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &("head", 7), b"body").expect("a vector takes everything");
        let (head, body): ((String, u32), Vec<u8>) = read_frame(&mut bytes.as_slice())
            .expect("a frame")
            .expect("not the end");
        assert_eq!((head, body), (("head".to_owned(), 7), b"body".to_vec()));
    }

    #[test]
    fn a_cut_frame_is_an_error_and_never_a_clean_end() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &"head", b"body").expect("a vector takes everything");
        for cut in 1..bytes.len() {
            assert!(
                read_frame::<String>(&mut &bytes[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        assert!(
            read_frame::<String>(&mut &bytes[..0])
                .expect("the end")
                .is_none()
        );
    }

    #[test]
    fn a_lying_length_is_refused_before_anything_is_allocated() {
        let bytes = [0xff; 64];
        assert!(read_frame::<String>(&mut bytes.as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(read_frame::<serde_json::Value>(&mut bytes.as_slice()));
        }
    }
}

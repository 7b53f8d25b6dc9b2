//! Tells a script's whole output from noise and from half an output.
//!
//! The wrapped script prints a line with a nonce before and after the caller's text.
//! What a login shell prints comes before the first; a script that was killed, or whose
//! connection was lost, never prints the second.

use std::fmt::Write as _;

use super::error::{printable_tail, sudo_refusal};
use super::question;
use crate::transport::{Script, TransportError};

/// Room for what a login shell prints around the script's own output.
const NOISE_MAX: usize = 64 << 10;

/// How the two lines begin: a byte that text does not hold.
const MARK: u8 = 0x1e;

/// Returns 16 random bytes as hex digits.
pub(crate) fn nonce(host: &str) -> Result<String, TransportError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        TransportError::io(host, "draw a random number", std::io::Error::other(error))
    })?;
    Ok(bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String never fails");
        hex
    }))
}

/// Wraps the caller's text between the two lines.
///
/// The text runs in a subshell, so its `exit` ends only itself, and with an empty
/// stdin, so it cannot eat the lines that follow it on the shell's own stdin.
pub(crate) fn wrap(script: &Script, nonce: &str) -> String {
    let asks = |text: &String| question::line(text, nonce, script.privileged);
    format!(
        "{question}LC_ALL=C; export LC_ALL\n\
         PATH=\"${{PATH:-/usr/bin:/bin}}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/usr/bin:/bin\"; export PATH\n\
         printf '\\036%s:begin\\n' {nonce}\n\
         (\n{text}\n) </dev/null\n\
         printf '\\036%s:%d\\n' {nonce} $?\n",
        question = script.question.as_ref().map(asks).unwrap_or_default(),
        text = script.text,
    )
}

/// Puts an output between the two lines, where no shell does.
pub(crate) fn frame(nonce: &str, output: &[u8], status: u8) -> Vec<u8> {
    let mark = char::from(MARK);
    let begin = format!("{mark}{nonce}:begin\n");
    let end = format!("{mark}{nonce}:{status}\n");
    [begin.as_bytes(), output, end.as_bytes()].concat()
}

/// Gathers what arrives until the trailer has been seen.
#[derive(Debug)]
pub(crate) struct Gathered {
    begin: Vec<u8>,
    trailer: Vec<u8>,
    bytes: Vec<u8>,
    output_max: usize,
    ended: Option<(usize, i32)>,
}

impl Gathered {
    pub(crate) fn new(nonce: &str, output_max: usize) -> Self {
        let mark = |word: &str| {
            let mut line = vec![MARK];
            line.extend_from_slice(nonce.as_bytes());
            line.extend_from_slice(word.as_bytes());
            line
        };
        Self {
            begin: mark(":begin\n"),
            trailer: mark(":"),
            bytes: Vec::new(),
            output_max,
            ended: None,
        }
    }

    /// Takes a chunk; tells `false` once there is more than any honest script prints.
    #[must_use]
    pub(crate) fn push(&mut self, chunk: &[u8]) -> bool {
        if self.ended.is_none() {
            let searched = self.bytes.len().saturating_sub(self.trailer.len() + 16);
            self.bytes.extend_from_slice(chunk);
            self.find_trailer(searched);
        }
        self.bytes.len() <= self.output_max + NOISE_MAX
    }

    /// Tells whether the trailer has been seen.
    pub(crate) fn ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Returns the output and the status, or what was gathered without a trailer.
    pub(crate) fn finish(mut self) -> Result<(Vec<u8>, i32), Vec<u8>> {
        let (Some((end, status)), Some(begin)) = (self.ended, find(&self.bytes, &self.begin))
        else {
            return Err(self.bytes);
        };
        let start = begin + self.begin.len();
        if start > end {
            return Err(self.bytes);
        }
        self.bytes.truncate(end);
        self.bytes.drain(..start);
        Ok((self.bytes, status))
    }

    fn find_trailer(&mut self, from: usize) {
        let mut from = from;
        while let Some(offset) = find(&self.bytes[from..], &self.trailer) {
            let at = from + offset;
            let digits = &self.bytes[at + self.trailer.len()..];
            let Some(stop) = digits.iter().position(|byte| *byte == b'\n') else {
                return;
            };
            if let Some(status) = std::str::from_utf8(&digits[..stop])
                .ok()
                .and_then(|digits| digits.parse::<u8>().ok())
            {
                self.ended = Some((at, i32::from(status)));
                return;
            }
            from = at + 1;
        }
    }
}

/// Says what a script without a trailer means.
pub(crate) fn missing_trailer(
    host: &str,
    script: &Script,
    sudo: bool,
    stdout: &[u8],
    stderr: &[u8],
) -> TransportError {
    if let Some(detail) = question::refused(stderr) {
        return TransportError::refused(host, &script.purpose, detail);
    }
    if let Some(detail) = sudo_refusal(stderr).filter(|_| sudo) {
        let host = host.to_owned();
        return TransportError::Denied { host, detail };
    }
    let complaint = printable_tail(stderr, 400);
    let detail = if !complaint.is_empty() {
        complaint
    } else if stdout.is_empty() {
        "it ended without any output".to_owned()
    } else {
        format!("the output stopped at: {}", printable_tail(stdout, 120))
    };
    TransportError::cut(host, &script.purpose, detail)
}

/// Returns where `needle` begins in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gather(chunks: &[&[u8]]) -> Result<(Vec<u8>, i32), Vec<u8>> {
        let mut gathered = Gathered::new("cafe", 1000);
        for chunk in chunks {
            assert!(gathered.push(chunk));
        }
        gathered.finish()
    }

    #[test]
    fn output_is_what_stands_between_the_marks() {
        type Case<'a> = (&'a [&'a [u8]], Option<(&'a [u8], i32)>);
        let cases: [Case<'_>; 7] = [
            (
                &[b"\x1ecafe:begin\nhello\n\x1ecafe:0\n"],
                Some((b"hello\n", 0)),
            ),
            (
                &[b"motd noise\n\x1ecafe:begin\nno newline\x1ecafe:7\n bye"],
                Some((b"no newline", 7)),
            ),
            (
                &[b"\x1ecafe:beg", b"in\nx\x1eca", b"fe:1", b"3\n"],
                Some((b"x", 13)),
            ),
            (&[b"\x1ecafe:begin\nhalf an out"], None),
            (&[b"\x1ecafe:begin\nhalf\n\x1ecafe:0"], None),
            (
                &[b"\x1ecafe:begin\nx\x1ecafe:no\n\x1ecafe:0\n"],
                Some((b"x\x1ecafe:no\n", 0)),
            ),
            (&[b"\x1ecafe:0\n\x1ecafe:begin\n"], None),
        ];
        for (chunks, expected) in cases {
            let got = gather(chunks).ok();
            let expected = expected.map(|(bytes, status)| (bytes.to_vec(), status));
            assert_eq!(got, expected, "{chunks:?}");
        }
    }

    #[test]
    fn too_much_output_is_noticed_while_it_arrives() {
        let mut gathered = Gathered::new("cafe", 10);
        assert!(gathered.push(&[b'x'; 10]));
        assert!(!gathered.push(&vec![b'x'; NOISE_MAX + 1]));
    }

    #[test]
    fn what_is_framed_is_gathered() {
        let framed = frame("cafe", b"line\n", 0);
        assert_eq!(gather(&[b"motd\n", &framed]), Ok((b"line\n".to_vec(), 0)));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_gathers_the_same(cut in 0_usize..40) {
            let whole = b"noise\x1ecafe:begin\nline\n\x1ecafe:255\n";
            let cut = cut.min(whole.len());
            prop_assert_eq!(gather(&[&whole[..cut], &whole[cut..]]), Ok((b"line\n".to_vec(), 255)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut gathered = Gathered::new("", 100);
            for chunk in &chunks {
                let _ = gathered.push(chunk);
            }
            let _ = gathered.finish();
        }
    }
}

//! Public keys as they stand in `known_hosts` and in `host-key` lines.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// No real public key is longer.
const BLOB_MAX: usize = 8 << 10;

/// Is a host's public key: its type and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostKey {
    kind: String,
    blob: Vec<u8>,
}

impl HostKey {
    /// Reads the bytes a server offered, whose first field is the type.
    pub(super) fn from_blob(blob: &[u8]) -> Option<Self> {
        let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?) as usize;
        let kind = blob.get(4..4_usize.checked_add(length)?)?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-@.".contains(byte);
        if blob.len() > BLOB_MAX || kind.is_empty() || !kind.iter().all(plain) {
            return None;
        }
        Some(Self {
            kind: String::from_utf8_lossy(kind).into_owned(),
            blob: blob.to_vec(),
        })
    }

    /// Reads `type base64`, with or without a comment behind it.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (kind, base64) = (words.next()?, words.next()?);
        if base64.len() > BLOB_MAX * 2 {
            return None;
        }
        let blob = STANDARD
            .decode(base64)
            .or_else(|_| STANDARD_NO_PAD.decode(base64))
            .ok()?;
        Self::from_blob(&blob).filter(|key| key.kind == kind)
    }

    /// Returns the key as `type base64`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.kind, STANDARD.encode(&self.blob))
    }

    /// Returns the names of the signature methods that a server with this key offers.
    ///
    /// Types that libssh2 does not know have none.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self.kind.as_str() {
            "ssh-ed25519" => &["ssh-ed25519"],
            "ecdsa-sha2-nistp256" => &["ecdsa-sha2-nistp256"],
            "ecdsa-sha2-nistp384" => &["ecdsa-sha2-nistp384"],
            "ecdsa-sha2-nistp521" => &["ecdsa-sha2-nistp521"],
            "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256"],
            _ => &[],
        }
    }

    pub(super) fn is_certificate(&self) -> bool {
        self.kind.contains("-cert-")
    }

    #[cfg(test)]
    pub(super) fn for_test(kind: &str, rest: &[u8]) -> Self {
        let mut blob = (kind.len() as u32).to_be_bytes().to_vec();
        blob.extend_from_slice(kind.as_bytes());
        blob.extend_from_slice(rest);
        Self::from_blob(&blob).expect("a well-formed key")
    }
}

/// Prints type and fingerprint, in the way `ssh-keygen -l` writes it.
impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.blob);
        write!(f, "{} SHA256:{}", self.kind, STANDARD_NO_PAD.encode(digest))
    }
}

/// Every signature method that is offered to servers; certificates are not among them,
/// because a certificate would never equal a key on file.
const METHODS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// The methods grouped by the key they need, best first.
pub(super) const EACH_TYPE: [&str; 3] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
    "rsa-sha2-512,rsa-sha2-256",
];

/// Returns the method preference: the types on file first, so that a server with
/// several keys offers one that can be compared.
pub(super) fn preference(on_file: &[HostKey]) -> String {
    let mut methods: Vec<&str> = Vec::new();
    let known = on_file.iter().flat_map(HostKey::methods).copied();
    for method in known.chain(METHODS) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods.join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Both as ssh-keygen printed them for a key made for this test and thrown away.
    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqR1FP2MZ+hdcI8YghwNGz/b12FKPCbiX7YRIRpdXy/";
    const FINGERPRINT: &str = "ssh-ed25519 SHA256:qzXp/o/N5Cny4s/y2ShPwolGc5RYbtTYUCairA5fEbM";

    #[test]
    fn fingerprints_read_as_ssh_keygen_writes_them() {
        let key = HostKey::from_line(LINE).expect("a real key");
        assert_eq!(key.to_string(), FINGERPRINT);
        assert_eq!(key.line(), LINE);
    }

    #[test]
    fn a_line_is_read_with_and_without_a_comment() {
        let key = HostKey::for_test("ssh-ed25519", &[0, 0, 0, 1, 7]);
        let line = key.line();
        assert_eq!(HostKey::from_line(&line), Some(key.clone()));
        assert_eq!(HostKey::from_line(&format!(" {line} root@nas")), Some(key));
    }

    #[test]
    fn lines_that_are_no_key_are_refused() {
        for line in ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA"] {
            assert_eq!(HostKey::from_line(line), None, "{line}");
        }
        let other = HostKey::for_test("ssh-rsa", b"x")
            .line()
            .replacen("ssh-rsa", "ssh-ed25519", 1);
        assert_eq!(
            HostKey::from_line(&other),
            None,
            "the type must match the bytes"
        );
    }

    #[test]
    fn the_types_on_file_come_first() {
        assert!(
            preference(&[HostKey::for_test("ssh-rsa", b"x")])
                .starts_with("rsa-sha2-512,rsa-sha2-256,ssh-ed25519")
        );
        assert!(preference(&[]).starts_with("ssh-ed25519"));
        assert!(
            !preference(&[HostKey::for_test("ssh-ed25519-cert-v01@openssh.com", b"")])
                .contains("cert")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_input_never_panics(line: String, blob: Vec<u8>) {
            let _ = HostKey::from_line(&line);
            let _ = HostKey::from_blob(&blob);
        }
    }
}

//! Decides whether an offered host key is the one on file.

use std::fs;
use std::path::PathBuf;

use super::key::HostKey;
use super::known_hosts::{OnFile, names};
use crate::transport::TransportError;

/// No real `known_hosts` file is longer; a longer one is read up to here.
const FILE_MAX: usize = 8 << 20;

/// Is what is on file about one host, and where that is written.
#[derive(Debug)]
pub(super) struct Trust {
    host: String,
    on_file: OnFile,
    place: String,
}

impl Trust {
    /// Trusts exactly the pinned lines.
    pub(super) fn pinned(host: &str, lines: &[String]) -> Result<Self, TransportError> {
        let mut on_file = OnFile::default();
        for line in lines {
            let key = HostKey::from_line(line).filter(|key| !key.is_certificate());
            let key = key.filter(|key| !key.methods().is_empty()).ok_or_else(|| {
                let what = format!(
                    "the pinned host-key {line:?} is not a key of a known type; it reads like \
                     \"ssh-ed25519 AAAA…\", as `bkpctl host-key NODE` prints it"
                );
                TransportError::bad_input(host, what)
            })?;
            on_file.keys.push(key);
        }
        Ok(Self {
            host: host.to_owned(),
            on_file,
            place: "the topology (host-key)".to_owned(),
        })
    }

    /// Trusts what the `known_hosts` files say under this name and port.
    pub(super) fn known_hosts(host: &str, name: &str, port: u16, files: &[PathBuf]) -> Self {
        let mut on_file = OnFile::default();
        let names = names(name, port);
        for file in files {
            if let Ok(bytes) = fs::read(file) {
                let bytes = &bytes[..bytes.len().min(FILE_MAX)];
                on_file.read(&String::from_utf8_lossy(bytes), &names);
            }
        }
        let places: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        Self {
            host: host.to_owned(),
            on_file,
            place: if places.is_empty() {
                "no known_hosts file".to_owned()
            } else {
                places.join(", ")
            },
        }
    }

    /// Returns the keys that an offered key is compared with.
    pub(super) fn keys(&self) -> &[HostKey] {
        &self.on_file.keys
    }

    /// Tells whether nothing but a certificate authority is on file.
    pub(super) fn is_by_certificate(&self) -> bool {
        self.on_file.authority && self.on_file.keys.is_empty()
    }

    /// Judges the key that a server offered.
    pub(super) fn judge(&self, offered: &HostKey) -> Result<(), TransportError> {
        if self.on_file.revoked.contains(offered) {
            return Err(TransportError::HostKeyMismatch {
                host: self.host.clone(),
                offered: offered.to_string(),
                expected: vec!["exactly that key as @revoked".to_owned()],
                place: self.place.clone(),
            });
        }
        if self.on_file.keys.contains(offered) {
            return Ok(());
        }
        if !self.on_file.keys.is_empty() {
            return Err(TransportError::HostKeyMismatch {
                host: self.host.clone(),
                offered: offered.to_string(),
                expected: self.on_file.keys.iter().map(ToString::to_string).collect(),
                place: self.place.clone(),
            });
        }
        if self.on_file.authority {
            return Err(TransportError::Unsupported {
                host: self.host.clone(),
                what: format!(
                    "only a @cert-authority line in {} covers it, which is no way to check a single key",
                    self.place
                ),
                next: format!(
                    "compare {offered} on the machine, then pin it: host-key {:?}",
                    offered.line()
                ),
            });
        }
        Err(TransportError::HostKeyUnknown {
            host: self.host.clone(),
            line: offered.line(),
            fingerprint: offered.to_string(),
            looked_in: self.place.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> HostKey {
        HostKey::for_test("ssh-ed25519", &[seed])
    }

    fn kind(result: Result<(), TransportError>) -> &'static str {
        result.map_or_else(|error| error.kind(), |()| "trusted")
    }

    #[test]
    fn only_a_pinned_key_is_trusted() {
        let rsa = HostKey::for_test("ssh-rsa", b"x");
        let trust = Trust::pinned("nas", &[key(1).line(), rsa.line()]).expect("well-formed");
        assert_eq!(kind(trust.judge(&key(1))), "trusted");
        assert_eq!(kind(trust.judge(&rsa)), "trusted");
        assert_eq!(kind(trust.judge(&key(2))), "host-key-mismatch");
        let bad = Trust::pinned("nas", &["ssh-ed25519 nonsense".to_owned()]);
        assert_eq!(kind(bad.map(|_| ())), "bad-input");
    }

    #[test]
    fn known_hosts_are_never_extended_by_first_use() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("known_hosts");
        let authority = key(9).line();
        let text = format!(
            "nas {}\n@revoked * {}\n@cert-authority pi {authority}\n",
            key(1).line(),
            key(3).line()
        );
        fs::write(&file, &text).expect("written");
        let judge = |name: &str, offered: &HostKey| {
            let files = [file.clone(), dir.path().join("absent")];
            kind(Trust::known_hosts(name, name, 22, &files).judge(offered))
        };
        assert_eq!(judge("nas", &key(1)), "trusted");
        assert_eq!(judge("nas", &key(2)), "host-key-mismatch");
        assert_eq!(judge("new", &key(2)), "host-key-unknown");
        assert_eq!(judge("new", &key(3)), "host-key-mismatch");
        assert_eq!(judge("pi", &key(2)), "unsupported");
        assert_eq!(fs::read_to_string(&file).expect("readable"), text);
    }
}

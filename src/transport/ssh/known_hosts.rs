//! Finds a host's keys in the text of a `known_hosts` file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::key::HostKey;

/// Is what the files say about one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OnFile {
    /// Keys that may be trusted.
    pub(super) keys: Vec<HostKey>,
    /// Keys that must never be trusted again.
    pub(super) revoked: Vec<HostKey>,
    /// Whether certificates of an authority are trusted for this host.
    pub(super) authority: bool,
}

impl OnFile {
    /// Adds what one file says.
    pub(super) fn read(&mut self, text: &str, names: &[String]) {
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (marker, rest) = match line.strip_prefix('@') {
                Some(marked) => match marked.split_once(|c: char| c.is_ascii_whitespace()) {
                    Some((marker, rest)) => (Some(marker), rest.trim_start()),
                    None => continue,
                },
                None => (None, line),
            };
            let Some((patterns, key)) = rest.split_once(|c: char| c.is_ascii_whitespace()) else {
                continue;
            };
            if !names.iter().any(|name| covers(patterns, name)) {
                continue;
            }
            match (marker, HostKey::from_line(key)) {
                (None, Some(key)) => self.keys.push(key),
                (Some("revoked"), Some(key)) => self.revoked.push(key),
                (Some("cert-authority"), _) => self.authority = true,
                (None | Some(_), _) => {}
            }
        }
    }
}

/// Returns the names under which a host is looked up.
pub(super) fn names(host: &str, port: u16) -> Vec<String> {
    let host = host.to_ascii_lowercase();
    if port == 22 {
        vec![host]
    } else {
        vec![format!("[{host}]:{port}")]
    }
}

/// Tells whether a comma-separated list of patterns, or a hashed name, covers the name.
fn covers(patterns: &str, name: &str) -> bool {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        return covers_hashed(hashed, name).unwrap_or(false);
    }
    let mut covered = false;
    for pattern in patterns.split(',') {
        if let Some(negated) = pattern.strip_prefix('!') {
            if glob(&negated.to_ascii_lowercase(), name) {
                return false;
            }
        } else if glob(&pattern.to_ascii_lowercase(), name) {
            covered = true;
        }
    }
    covered
}

fn covers_hashed(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    // The format fixes SHA-1; it hides names and decides nothing about keys.
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    Some(hmac::sign(&key, name.as_bytes()).as_ref() == hash)
}

/// Matches `*` and `?` in linear memory and at worst quadratic time.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on_file(text: &str, host: &str, port: u16) -> OnFile {
        let mut found = OnFile::default();
        found.read(text, &names(host, port));
        found
    }

    fn key(seed: u8) -> HostKey {
        HostKey::for_test("ssh-ed25519", &[seed])
    }

    #[test]
    fn patterns_cover_what_openssh_says_they_cover() {
        let cases = [
            ("nas", "nas", 22, true),
            ("NAS", "nas", 22, true),
            ("nas", "Nas", 22, true),
            ("other,nas", "nas", 22, true),
            ("nas", "nas2", 22, false),
            ("nas", "nas", 2222, false),
            ("[nas]:2222", "nas", 2222, true),
            ("[nas]:2222", "nas", 22, false),
            ("10.0.0.*", "10.0.0.11", 22, true),
            ("*.lan,!nas.lan", "pi.lan", 22, true),
            ("*.lan,!nas.lan", "nas.lan", 22, false),
            ("n?s", "nas", 22, true),
            ("*", "anything", 22, true),
        ];
        for (patterns, host, port, expected) in cases {
            let text = format!("# comment\n\n{patterns} {} root@x\n", key(1).line());
            let found = on_file(&text, host, port).keys.len() == 1;
            assert_eq!(found, expected, "{patterns} for {host}:{port}");
        }
    }

    #[test]
    fn hashed_names_are_found() {
        let salt = [9_u8; 20];
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
        let hash = hmac::sign(&hmac_key, b"[nas]:2222");
        let name = format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash));
        let text = format!("{name} {}", key(1).line());
        assert_eq!(on_file(&text, "nas", 2222).keys, [key(1)]);
        assert_eq!(on_file(&text, "nas", 22).keys, []);
    }

    #[test]
    fn markers_are_told_apart() {
        let text = format!(
            "@revoked * {}\n@cert-authority *.lan {}\n@unknown nas {}\nnas {}\n@revoked\nbroken\n",
            key(1).line(),
            key(2).line(),
            key(3).line(),
            key(4).line(),
        );
        let found = on_file(&text, "nas", 22);
        assert_eq!(
            (found.keys, found.revoked, found.authority),
            (vec![key(4)], vec![key(1)], false)
        );
        assert!(on_file(&text, "nas.lan", 22).authority);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String, host: String) {
            let _ = on_file(&text, &host, 22);
            let _ = on_file(&format!("{text} {}", key(1).line()), &host, 23);
        }
    }
}

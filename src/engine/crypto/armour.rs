//! The reading key as text: a file for machines, a code for paper.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::{CryptoError, ReadingKey};
use crate::engine::format::{KEY_FILE_HEADER, context};
use crate::engine::hex;

/// Crockford's alphabet: no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_BYTES: usize = 35;
const CODE_DIGITS: usize = 56;
const GROUP_DIGITS: usize = 7;

/// Reads and prints key files.
#[derive(Debug)]
pub struct KeyFile;

impl KeyFile {
    /// Returns the text of a key file. Its owner keeps it readable by nobody else.
    pub fn print(key: &ReadingKey) -> Zeroizing<String> {
        let seed = Zeroizing::new(hex::encode(key.seed()));
        let check = hex::encode(&check(key.seed())[..4]);
        let mut text = Zeroizing::new(String::with_capacity(512));
        let domain = key.domain();
        write!(
            text,
            "# Whoever has this file can read every backup of its key domain.\n\
             {KEY_FILE_HEADER}\ndomain {domain}\nkey {}\ncheck {check}\n",
            *seed
        )
        .expect("writing to a string cannot fail");
        text
    }

    /// Reads the text of a key file.
    pub fn parse(text: &str) -> Result<ReadingKey, CryptoError> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        if lines.next() != Some(KEY_FILE_HEADER) {
            return Err(CryptoError::KeyFile("the first line is not its header"));
        }
        let mut field = |name: &'static str, missing: &'static str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name));
            value.map(str::trim).ok_or(CryptoError::KeyFile(missing))
        };
        let domain = field("domain ", "the line `domain` is missing")?;
        let seed = field("key ", "the line `key` is missing")?;
        let sum = field("check ", "the line `check` is missing")?;
        let seed = hex::decode(seed).map(Zeroizing::new);
        let seed = seed.ok_or(CryptoError::KeyFile("the line `key` is damaged"))?;
        if sum != hex::encode(&check(&seed)[..4]) {
            return Err(CryptoError::KeyFile("the check does not fit the key"));
        }
        let key = ReadingKey::from_seed(&seed);
        if domain == key.domain().to_string() {
            Ok(key)
        } else {
            Err(CryptoError::KeyFile("the domain does not fit the key"))
        }
    }
}

/// Reads and prints recovery codes: the whole key in eight groups of seven letters and digits.
#[derive(Debug)]
pub struct RecoveryCode;

impl RecoveryCode {
    /// Returns the code of a key.
    pub fn print(key: &ReadingKey) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; CODE_BYTES]);
        bytes[..32].copy_from_slice(key.seed());
        bytes[32..].copy_from_slice(&check(key.seed())[..3]);
        let mut text = Zeroizing::new(String::with_capacity(CODE_DIGITS + 8));
        for digit in 0..CODE_DIGITS {
            if digit > 0 && digit % GROUP_DIGITS == 0 {
                text.push('-');
            }
            let value = (0..5).fold(0, |value, bit| {
                let at = digit * 5 + bit;
                value << 1 | usize::from(bytes[at / 8] >> (7 - at % 8) & 1)
            });
            text.push(char::from(ALPHABET[value]));
        }
        text
    }

    /// Reads a code; small letters, spaces and look-alikes (`O`, `I`, `L`) are understood.
    pub fn parse(text: &str) -> Result<ReadingKey, CryptoError> {
        let mut bytes = Zeroizing::new([0_u8; CODE_BYTES]);
        let mut digits = 0;
        for letter in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let letter = match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let value = ALPHABET
                .iter()
                .position(|known| char::from(*known) == letter)
                .ok_or(CryptoError::RecoveryCode(
                    "it has a letter codes never have",
                ))?;
            if digits == CODE_DIGITS {
                return Err(CryptoError::RecoveryCode("it is too long"));
            }
            for bit in 0..5 {
                let at = digits * 5 + bit;
                bytes[at / 8] |= ((value >> (4 - bit) & 1) as u8) << (7 - at % 8);
            }
            digits += 1;
        }
        if digits < CODE_DIGITS {
            return Err(CryptoError::RecoveryCode("it is too short"));
        }
        let (seed, sum) = bytes
            .split_first_chunk::<32>()
            .expect("35 bytes start with 32");
        if sum == &check(seed)[..3] {
            Ok(ReadingKey::from_seed(seed))
        } else {
            Err(CryptoError::RecoveryCode("a letter was misread"))
        }
    }
}

fn check(seed: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(context::KEY_TEXT, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_its_code() {
        for byte in [0, 0x5a, 0xff] {
            let key = ReadingKey::from_seed(&[byte; 32]);
            let file = KeyFile::print(&key);
            assert_eq!(KeyFile::parse(&file).expect("a file").seed(), key.seed());
            let code = RecoveryCode::print(&key);
            assert_eq!(code.len(), CODE_DIGITS + 7);
            let typed = code.to_lowercase().replace('-', " ").replace('0', "o");
            assert_eq!(
                RecoveryCode::parse(&typed).expect("a code").seed(),
                key.seed()
            );
        }
    }

    #[test]
    fn a_misread_letter_is_seen() {
        let key = ReadingKey::from_seed(&[0x5a; 32]);
        let code = RecoveryCode::print(&key);
        for index in 0..code.len() {
            let mut letters = code.as_bytes().to_vec();
            if letters[index] == b'-' {
                continue;
            }
            letters[index] = if letters[index] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(letters).expect("ASCII");
            assert!(RecoveryCode::parse(&text).is_err(), "{index}");
        }
        assert!(RecoveryCode::parse("").is_err());
        assert!(RecoveryCode::parse(&"A".repeat(1000)).is_err());
        assert!(RecoveryCode::parse("ü").is_err());
    }

    #[test]
    fn a_damaged_key_file_is_refused() {
        let text = KeyFile::print(&ReadingKey::from_seed(&[0x5a; 32]));
        for (from, to) in [
            (KEY_FILE_HEADER, "bkpctl-reading-key 9"),
            ("key 5a", "key 5b"),
            ("domain ", "domain 0"),
            ("check ", "chuck "),
        ] {
            let changed = text.replace(from, to);
            assert!(KeyFile::parse(&changed).is_err(), "{from}");
        }
        assert!(KeyFile::parse("").is_err());
    }
}

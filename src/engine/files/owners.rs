//! Names of users and groups, read from the machine's own files.
//!
//! The static binary has no name service switch, so names come from `/etc/passwd` and
//! `/etc/group` alone. A number without a name there is kept as a number.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// How much of a name file is read; far beyond any real one.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Maps user and group numbers to names.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    users: HashMap<u32, Arc<[u8]>>,
    groups: HashMap<u32, Arc<[u8]>>,
}

impl Owners {
    /// Reads this machine's files; one that cannot be read gives no names.
    pub fn of_this_machine() -> Self {
        let read = |path: &str| read_bounded(Path::new(path)).unwrap_or_default();
        Self::parse(&read("/etc/passwd"), &read("/etc/group"))
    }

    /// Reads the texts of a passwd and a group file.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: parse_names(passwd),
            groups: parse_names(group),
        }
    }

    /// Returns a user's name.
    pub fn user(&self, uid: u32) -> Option<Arc<[u8]>> {
        self.users.get(&uid).cloned()
    }

    /// Returns a group's name.
    pub fn group(&self, gid: u32) -> Option<Arc<[u8]>> {
        self.groups.get(&gid).cloned()
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Both files have the name first and the number third; the first line of a number wins.
fn parse_names(text: &[u8]) -> HashMap<u32, Arc<[u8]>> {
    let mut names = HashMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (name, number) = (fields.next().unwrap_or_default(), fields.nth(1));
        let number = number.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        if let (Some(number), false) = (number, name.is_empty()) {
            names.entry(number).or_insert_with(|| Arc::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_well_formed_lines_only() {
        let passwd = b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\n\nbroken\n:x:7:7::/:\nann:x:1000:1000:::\n";
        let owners = Owners::parse(passwd, b"wheel:x:10:ann\nbad:x:-1:\n");
        assert_eq!(owners.user(0).as_deref(), Some(b"root".as_slice()));
        assert_eq!(owners.user(1000).as_deref(), Some(b"ann".as_slice()));
        assert_eq!(owners.group(10).as_deref(), Some(b"wheel".as_slice()));
        assert_eq!((owners.user(7), owners.group(0)), (None, None));
    }
}

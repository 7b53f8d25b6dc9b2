//! The table of what is mounted where, as the kernel has it.

use super::observed::{MountFacts, SmbFacts};

/// Is the mount table, in the order of mounting.
#[derive(Debug, Default)]
pub struct Mounts(Vec<MountFacts>);

impl Mounts {
    /// Reads a table as proc(5) has it in `/proc/self/mountinfo`; lines that make no sense are
    /// left out.
    pub fn read(table: &[u8]) -> Self {
        let lines = table.split(|byte| *byte == b'\n');
        Self(lines.filter_map(line).collect())
    }

    /// Returns the mount that a path without symbolic links is on.
    pub fn covering(&self, path: &str) -> Option<&MountFacts> {
        let covers = |target: &str| {
            target == "/"
                || path
                    .strip_prefix(target)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // Of several mounts on one target the last one is seen, which `max_by_key` returns.
        self.0
            .iter()
            .filter(|mount| covers(&mount.target))
            .max_by_key(|mount| mount.target.len())
    }
}

impl MountFacts {
    /// Returns the path that an NFS server exports, if this is a mount of one.
    pub fn exported(&self) -> Option<&str> {
        // An address of version 6 has colons too, and stands in brackets.
        let after = self.source.rfind(']').unwrap_or(0);
        let colon = after + self.source[after..].find(":/")?;
        self.fstype
            .starts_with("nfs")
            .then(|| &self.source[colon + 1..])
    }

    /// Tells whether its options say who owns everything, so that no chown and no chmod lasts.
    ///
    /// Where the options were not seen that is taken for granted: it is so unless somebody asked
    /// for something else.
    pub fn invents_owners(&self) -> bool {
        let tells = self.smb.as_ref().is_some_and(|smb| smb.server_tells);
        is_smb(&self.fstype) && !tells
    }

    /// Tells whether the client judges nobody's rights there, and leaves all to the server.
    pub fn is_unchecked(&self) -> bool {
        self.smb.as_ref().is_some_and(|smb| smb.unchecked)
    }
}

fn is_smb(fstype: &str) -> bool {
    ["cifs", "smb3"].contains(&fstype)
}

/// Reads what the options of a mount over SMB say of owners and modes, see mount.cifs(8) and
/// `cifs_show_options` in Linux.
///
/// Other options may hold names and passwords, and are not looked at.
fn smb(options: &str) -> SmbFacts {
    let mut facts = SmbFacts::default();
    let (mut by_server, mut forced) = (false, false);
    let octal = |value: &str| u32::from_str_radix(value, 8).ok();
    for option in options.split(',') {
        match option.split_once('=').unwrap_or((option, "")) {
            ("uid", value) => facts.uid = value.parse().ok(),
            ("gid", value) => facts.gid = value.parse().ok(),
            ("file_mode", value) => facts.file_mode = octal(value),
            ("dir_mode", value) => facts.dir_mode = octal(value),
            ("forceuid", _) => forced = true,
            ("unix" | "posix" | "cifsacl" | "idsfromsid", _) => by_server = true,
            // With several users each asks the server on his own, which goes with noperm.
            ("noperm" | "multiuser", _) => facts.unchecked = true,
            _ => {}
        }
    }
    facts.server_tells = by_server && !forced;
    facts
}

/// Reads `id parent major:minor root target options … - fstype source options`.
fn line(bytes: &[u8]) -> Option<MountFacts> {
    let text = String::from_utf8_lossy(bytes);
    let (before, after) = text.split_once(" - ")?;
    let mut before = before.split(' ');
    let device = before.nth(2)?;
    let target = before.nth(1)?;
    let options = before.next()?;
    let mut after = after.split(' ');
    let (fstype, source, super_options) =
        (after.next()?, after.next()?, after.next().unwrap_or(""));
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    let fstype = unescape(fstype);
    Some(MountFacts {
        target: unescape(target),
        source: unescape(source),
        smb: is_smb(&fstype).then(|| smb(super_options)),
        fstype,
        device: device.to_owned(),
        read_only: read_only(options) || read_only(super_options),
    })
}

/// Turns the kernel's octal escapes (`\040` for a blank) back.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal {
            plain.push(byte);
            at += 4;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Synthetic, after the examples in proc(5).
    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 0:26 / /mnt/my\\040disk ro,relatime - xfs /dev/sdb1 rw
31 22 0:52 / /mnt/tank rw,relatime shared:7 master:2 - nfs4 10.0.0.20:/mnt/tank rw,vers=4.2,hard
32 31 0:53 / /mnt/tank rw - tmpfs tmpfs rw
33 22 0:54 /sub /srv rw - btrfs /dev/sdc ro,subvol=/sub
broken line
";

    fn table() -> Mounts {
        Mounts::read(TABLE.as_bytes())
    }

    #[test]
    fn a_path_is_on_the_nearest_mount_and_the_last_one_there() {
        let mounts = table();
        for (path, fstype, read_only) in [
            ("/", "ext4", false),
            ("/mnt", "ext4", false),
            ("/mnt/my disk/a", "xfs", true),
            ("/mnt/tank", "tmpfs", false),
            ("/mnt/tankard", "ext4", false),
            ("/srv/x", "btrfs", true),
        ] {
            let mount = mounts.covering(path).expect("there is a root");
            assert_eq!(
                (mount.fstype.as_str(), mount.read_only),
                (fstype, read_only),
                "{path}"
            );
        }
        assert!(Mounts::default().covering("/").is_none());
    }

    #[test]
    fn a_network_mount_tells_what_its_server_exports() {
        for (fstype, source, expected) in [
            ("nfs4", "10.0.0.20:/mnt/tank", Some("/mnt/tank")),
            ("nfs", "[fd00::20]:/srv/a:/b", Some("/srv/a:/b")),
            ("nfs4", "nas", None),
            ("ext4", "/dev/x:/y", None),
        ] {
            let mount = MountFacts {
                target: "/mnt".to_owned(),
                source: source.to_owned(),
                fstype: fstype.to_owned(),
                device: "0:1".to_owned(),
                read_only: false,
                smb: None,
            };
            assert_eq!(mount.exported(), expected, "{source}");
        }
    }

    // Synthetic, after mount.cifs(8) and what Linux writes of such mounts.
    #[test]
    fn a_mount_over_smb_tells_who_it_says_owns_everything_and_nothing_secret() {
        let read = |options: &str| {
            let text =
                format!("40 22 0:60 / /mnt/smb rw,relatime - cifs //nas/backup rw,{options}\n");
            let mounts = Mounts::read(text.as_bytes());
            mounts
                .covering("/mnt/smb/store")
                .cloned()
                .expect("it is there")
        };
        let plain = "vers=3.1.1,cache=strict,username=anna,password=hunter2,domain=HOME,uid=0,noforceuid,gid=0,noforcegid,addr=10.0.0.20,file_mode=0755,dir_mode=0750,soft,nounix,serverino,mapposix";
        let mount = read(plain);
        let smb = SmbFacts {
            uid: Some(0),
            gid: Some(0),
            file_mode: Some(0o755),
            dir_mode: Some(0o750),
            server_tells: false,
            unchecked: false,
        };
        assert_eq!(mount.smb, Some(smb));
        assert!(mount.invents_owners() && !mount.is_unchecked());
        let told = serde_json::to_string(&mount).expect("it serialises");
        for secret in ["anna", "hunter2", "HOME"] {
            assert!(!told.contains(secret), "{told}");
        }
        for (options, invents, unchecked) in [
            ("uid=34,gid=34,nounix,noperm", true, true),
            ("multiuser,uid=0,gid=0,nounix", true, true),
            ("uid=0,noforceuid,gid=0,posix", false, false),
            ("uid=34,forceuid,gid=34,forcegid,unix", true, false),
            ("uid=0,noforceuid,nounix,cifsacl", false, false),
        ] {
            let mount = read(options);
            assert_eq!(
                (mount.invents_owners(), mount.is_unchecked()),
                (invents, unchecked),
                "{options}"
            );
        }
        // Facts that were saved before say nothing of options.
        let saved = r#"{"target":"/m","source":"//nas/b","fstype":"cifs","device":"0:1","read_only":false}"#;
        let saved: MountFacts = serde_json::from_str(saved).expect("it is understood");
        assert!(saved.invents_owners() && !saved.is_unchecked());
        assert!(!table().covering("/srv").expect("a mount").invents_owners());
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(bytes: Vec<u8>, text: String) {
            let _ = line(&bytes);
            let _ = line(format!("1 2 3:4 / {text} rw - {text} {text} rw").as_bytes());
            let _ = smb(&text);
            let _ = unescape(&text);
        }
    }
}

//! An NFS export as its server has it, and what it makes of a client's numbers.

use core::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idmap::OVERFLOW_ID;

/// One path exported to some clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// The exported path.
    pub path: String,
    /// The clients: an address, a network, a name or a pattern; `*` is everybody.
    pub clients: String,
    /// What becomes of ids.
    pub squashing: Squashing,
    /// Whether nobody may write.
    pub read_only: bool,
    /// Whether each call checks that the file is still below the path.
    pub subtree_check: bool,
    /// The security flavours, such as `sys`; empty where the server did not say.
    pub security: Vec<String>,
}

/// How an NFS server replaces the ids that a client sends, see exports(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Squashing {
    /// Whose ids are replaced.
    pub of: SquashOf,
    /// What their user becomes.
    pub uid: u32,
    /// What their group becomes.
    pub gid: u32,
}

/// Whose ids are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SquashOf {
    /// Nobody's (`no_root_squash`).
    Nobody,
    /// Those that are 0 (`root_squash`).
    Root,
    /// Everybody's (`all_squash`).
    All,
}

impl Squashing {
    /// Returns what exports(5) does where nothing is said.
    pub const DEFAULT: Self = Self {
        of: SquashOf::Root,
        uid: OVERFLOW_ID,
        gid: OVERFLOW_ID,
    };

    /// Returns the user and group that the server acts as.
    ///
    /// As `nfsd_setuser` in Linux's fs/nfsd/auth.c does: user and group are replaced each for
    /// itself where root is squashed, together where all are.
    pub fn apply(&self, uid: u32, gid: u32) -> (u32, u32) {
        match self.of {
            SquashOf::Nobody => (uid, gid),
            SquashOf::All => (self.uid, self.gid),
            SquashOf::Root => (
                if uid == 0 { self.uid } else { uid },
                if gid == 0 { self.gid } else { gid },
            ),
        }
    }

    /// Returns the options of exports(5) that say this.
    pub fn options(&self) -> String {
        let name = match self.of {
            SquashOf::Nobody => return "no_root_squash".to_owned(),
            SquashOf::Root => "root_squash",
            SquashOf::All => "all_squash",
        };
        if (self.uid, self.gid) == (OVERFLOW_ID, OVERFLOW_ID) {
            return name.to_owned();
        }
        format!("{name},anonuid={},anongid={}", self.uid, self.gid)
    }

    /// Returns the option's name, with the numbers where they are not the usual ones.
    pub fn words(&self) -> String {
        let name = match self.of {
            SquashOf::Nobody => return "no_root_squash".to_owned(),
            SquashOf::Root => "root_squash",
            SquashOf::All => "all_squash",
        };
        if (self.uid, self.gid) == (OVERFLOW_ID, OVERFLOW_ID) {
            name.to_owned()
        } else {
            format!("{name}, anonuid={} anongid={}", self.uid, self.gid)
        }
    }
}

impl Export {
    /// Reads clients with their options, `10.0.0.0/24(rw,root_squash,…)`.
    ///
    /// None if that is no such text.
    pub fn read(path: &str, clients_and_options: &str) -> Option<Self> {
        let (clients, options) = clients_and_options.trim().split_once('(')?;
        let options: Vec<&str> = options.strip_suffix(')')?.split(',').collect();
        let has = |name: &str| options.contains(&name);
        let value = |name: &str| {
            let mut last_first = options.iter().rev();
            last_first.find_map(|option| option.strip_prefix(name))
        };
        let number = |name: &str| match value(name) {
            Some(text) => text.parse().ok(),
            None => Some(OVERFLOW_ID),
        };
        let of = if has("all_squash") {
            SquashOf::All
        } else if has("no_root_squash") {
            SquashOf::Nobody
        } else {
            SquashOf::Root
        };
        let security = value("sec=").map(|text| text.split(':').map(str::to_owned).collect());
        Some(Self {
            path: path.to_owned(),
            clients: match clients {
                "" | "<world>" => "*".to_owned(),
                clients => clients.to_owned(),
            },
            squashing: Squashing {
                of,
                uid: number("anonuid=")?,
                gid: number("anongid=")?,
            },
            read_only: !has("rw"),
            subtree_check: has("subtree_check"),
            security: security.unwrap_or_default(),
        })
    }

    /// Returns every export of a text like exports(5), with one path and its clients a line.
    ///
    /// Only what bkpctl writes is read: no default options, no lines that go on.
    pub fn of_file(text: &str) -> Vec<Self> {
        let lines = text.lines().filter(|line| line.starts_with('/'));
        lines
            .flat_map(|line| {
                let (path, clients) = line.split_once(' ').unwrap_or((line, ""));
                let path = unescaped(path);
                let clients = clients.split_ascii_whitespace();
                clients.filter_map(move |client| Self::read(&path, client))
            })
            .collect()
    }

    /// Tells whether a client with these addresses is meant; none where names would decide.
    pub fn admits(&self, addresses: &[IpAddr]) -> Option<bool> {
        if self.clients == "*" {
            return Some(true);
        }
        let network = Network::read(&self.clients)?;
        Some(addresses.iter().any(|address| network.holds(*address)))
    }
}

/// Turns octal escapes of a path back, see exports(5).
fn unescaped(word: &str) -> String {
    let bytes = word.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(octal.unwrap_or(byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// An address, or a network with the length of its prefix.
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads `10.0.0.1`, `10.0.0.0/24` or `10.0.0.0/255.255.255.0`.
    fn read(text: &str) -> Option<Self> {
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match mask {
            None => bits,
            Some(mask) => match mask.parse::<IpAddr>() {
                Ok(IpAddr::V4(mask)) => {
                    let mask = u32::from(mask);
                    (mask.leading_ones() + mask.trailing_zeros() == 32)
                        .then(|| mask.leading_ones())?
                }
                _ => mask.parse().ok().filter(|prefix| *prefix <= bits)?,
            },
        };
        Some(Self { address, prefix })
    }

    fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                u128::from(own) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn export(text: &str) -> Export {
        Export::read("/srv", text).expect(text)
    }

    #[test]
    fn root_is_replaced_alone_and_all_together() {
        for (options, from, to) in [
            ("*(rw,root_squash)", (0, 0), (65_534, 65_534)),
            ("*(rw,root_squash)", (34, 0), (34, 65_534)),
            ("*(rw,root_squash)", (34, 34), (34, 34)),
            ("*(rw,no_root_squash)", (0, 0), (0, 0)),
            (
                "*(rw,anonuid=34,anongid=34,root_squash,all_squash)",
                (0, 0),
                (34, 34),
            ),
            (
                "*(rw,anonuid=34,anongid=34,root_squash,all_squash)",
                (1000, 7),
                (34, 34),
            ),
            // What TrueNAS writes for `maproot_user=root` alone.
            ("*(rw,anonuid=0,root_squash)", (0, 0), (0, 65_534)),
        ] {
            let squashing = export(options).squashing;
            assert_eq!(squashing.apply(from.0, from.1), to, "{options}");
        }
    }

    #[test]
    fn options_are_read_as_the_server_prints_them() {
        let read = export(
            "10.0.0.0/24(sync,wdelay,hide,no_subtree_check,fsid=1,sec=sys:krb5,rw,insecure,root_squash,no_all_squash)",
        );
        assert_eq!(read.clients, "10.0.0.0/24");
        assert_eq!(read.squashing, Squashing::DEFAULT);
        assert!(!read.read_only && !read.subtree_check);
        assert_eq!(read.security, ["sys", "krb5"]);
        assert!(export("<world>(ro,subtree_check)").read_only);
        for text in ["", "*", "*(rw", "*(rw,anonuid=x)"] {
            assert_eq!(Export::read("/srv", text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for squashing in [
            Squashing::DEFAULT,
            Squashing {
                of: SquashOf::Nobody,
                ..Squashing::DEFAULT
            },
            Squashing {
                of: SquashOf::All,
                uid: 34,
                gid: 34,
            },
            Squashing {
                of: SquashOf::Root,
                uid: 0,
                gid: OVERFLOW_ID,
            },
        ] {
            let path = "/srv/my disk";
            let word = crate::model::system_files::exports_word(path);
            let options = squashing.options();
            let text = format!("# x\n{word} 10.0.0.15(rw,sync,{options}) nas.lan(rw,{options})\n");
            let read = Export::of_file(&text);
            assert_eq!(read.len(), 2, "{text}");
            assert_eq!(
                (read[0].path.as_str(), read[0].squashing),
                (path, squashing)
            );
            assert_eq!(read[1].clients, "nas.lan");
        }
    }

    #[test]
    fn clients_are_told_apart_by_address() {
        let ours: [IpAddr; 2] = [
            [10, 0, 0, 15].into(),
            "fd00::15".parse().expect("an address"),
        ];
        for (clients, expected) in [
            ("*", Some(true)),
            ("<world>", Some(true)),
            ("10.0.0.15", Some(true)),
            ("10.0.0.16", Some(false)),
            ("10.0.0.0/28", Some(true)),
            ("10.0.0.0/29", Some(false)),
            ("10.0.0.0/255.255.255.0", Some(true)),
            ("0.0.0.0/0", Some(true)),
            ("fd00::/64", Some(true)),
            ("fd00:1::/64", Some(false)),
            ("*.lan", None),
            ("nas.lan", None),
            ("@trusted", None),
            ("10.0.0.0/99", None),
        ] {
            let export = export(&format!("{clients}(rw)"));
            assert_eq!(export.admits(&ours), expected, "{clients}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            if let Some(export) = Export::read(&text, &text) {
                let _ = export.admits(&[[127, 0, 0, 1].into()]);
            }
            let _ = Export::read(&text, &format!("{text}({text})"));
        }
    }
}

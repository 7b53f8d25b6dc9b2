//! Access control lists: who may do what with a file, beyond its mode bits.
//!
//! POSIX lists are judged as in acl(5): the closest entry decides. Lists of NFSv4, as ZFS keeps
//! them for SMB, are read from the top, and the first entry that names a right decides on it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The right to look into a folder, as a bit of a POSIX list.
pub const READ: u32 = 4;
/// The right to make entries.
pub const WRITE: u32 = 2;
/// The right to pass.
pub const EXECUTE: u32 = 1;

/// An access control list that says more than the mode bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acl {
    /// A POSIX list.
    Posix {
        /// Its entries, without those for new files.
        entries: Vec<PosixEntry>,
        /// The most that its named users and all its groups may have.
        mask: Option<u32>,
    },
    /// A list of NFSv4.
    Nfs4 {
        /// Its entries in their order, without those only for new files.
        entries: Vec<Nfs4Entry>,
    },
}

/// An entry of a POSIX list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PosixEntry {
    /// Whom it is about.
    pub who: Subject,
    /// The permission bits.
    pub rights: u32,
}

/// An entry of a list of NFSv4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nfs4Entry {
    /// Whom it is about.
    pub who: Subject,
    /// Its rights as letters, such as `r-x---a-R-c--s`.
    pub letters: String,
    /// Whether it gives them; otherwise it denies them.
    pub allows: bool,
}

/// Whom an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The file's owner.
    Owner,
    /// The file's group.
    OwningGroup,
    /// A user.
    User(u32),
    /// A group.
    Group(u32),
    /// Everybody, or everybody else.
    Everyone,
}

/// What a list says to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// Whether all the rights are given.
    pub granted: bool,
    /// The entry that decided; none where nothing is said of them.
    pub entry: Option<String>,
}

impl Acl {
    /// Judges whether somebody has some rights, given which subjects that is.
    pub fn judge(&self, is: impl Fn(Subject) -> bool, rights: u32) -> Ruling {
        match self {
            Self::Posix { entries, mask } => posix(entries, *mask, is, rights),
            Self::Nfs4 { entries } => nfs4(entries, is, rights),
        }
    }

    /// Changes it as `chmod` does; what that does to a list of NFSv4 is up to its filesystem.
    pub fn set_mode(&mut self, mode: u32) {
        let Self::Posix { entries, mask } = self else {
            return;
        };
        let group = mode >> 3 & 7;
        for entry in entries {
            match entry.who {
                Subject::Owner => entry.rights = mode >> 6 & 7,
                Subject::OwningGroup if mask.is_none() => entry.rights = group,
                Subject::Everyone => entry.rights = mode & 7,
                _ => {}
            }
        }
        *mask = mask.map(|_| group);
    }
}

/// Finds the closest entry; of groups, any that gives everything does.
fn posix(
    entries: &[PosixEntry],
    mask: Option<u32>,
    is: impl Fn(Subject) -> bool,
    rights: u32,
) -> Ruling {
    let is_group = |who: Subject| matches!(who, Subject::OwningGroup | Subject::Group(_));
    let classes: [&dyn Fn(Subject) -> bool; 4] = [
        &|who| who == Subject::Owner,
        &|who| matches!(who, Subject::User(_)),
        &is_group,
        &|who| who == Subject::Everyone,
    ];
    for class in classes {
        let meant: Vec<&PosixEntry> = entries
            .iter()
            .filter(|entry| class(entry.who) && is(entry.who))
            .collect();
        let effective = |entry: &PosixEntry| match entry.who {
            Subject::Owner | Subject::Everyone => entry.rights,
            _ => entry.rights & mask.unwrap_or(7),
        };
        let gives = |entry: &&&PosixEntry| effective(entry) & rights == rights;
        let Some(decides) = meant.iter().find(gives).or(meant.first()) else {
            continue;
        };
        let left = effective(decides);
        let cut = if left == decides.rights {
            String::new()
        } else {
            format!(" cut to {} by its mask", triple(left))
        };
        return Ruling {
            granted: left & rights == rights,
            entry: Some(format!("{decides}{cut}")),
        };
    }
    Ruling {
        granted: false,
        entry: None,
    }
}

/// Looks for the first entry on each right; a right that none gives is denied.
fn nfs4(entries: &[Nfs4Entry], is: impl Fn(Subject) -> bool, rights: u32) -> Ruling {
    // Making a file and making a folder are rights of their own.
    let letters = [(READ, &['r'][..]), (WRITE, &['w', 'p']), (EXECUTE, &['x'])];
    let needed = letters.into_iter().filter(|(bit, _)| rights & bit != 0);
    let mut gave = None;
    for letter in needed.flat_map(|(_, letters)| letters) {
        let mut about = entries.iter().filter(|entry| is(entry.who));
        match about.find(|entry| entry.letters.contains(*letter)) {
            Some(entry) if entry.allows => gave = gave.or(Some(entry)),
            decided => {
                return Ruling {
                    granted: false,
                    entry: decided.map(ToString::to_string),
                };
            }
        }
    }
    Ruling {
        granted: true,
        entry: gave.map(ToString::to_string),
    }
}

/// Words permission bits as `ls` does.
pub fn triple(rights: u32) -> String {
    let letter = |bit: u32, letter: char| if rights & bit == 0 { '-' } else { letter };
    [letter(READ, 'r'), letter(WRITE, 'w'), letter(EXECUTE, 'x')]
        .iter()
        .collect()
}

impl fmt::Display for PosixEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Subject::Owner => write!(f, "user::")?,
            Subject::OwningGroup => write!(f, "group::")?,
            Subject::User(uid) => write!(f, "user:{uid}:")?,
            Subject::Group(gid) => write!(f, "group:{gid}:")?,
            Subject::Everyone => write!(f, "other::")?,
        }
        write!(f, "{}", triple(self.rights))
    }
}

impl fmt::Display for Nfs4Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Subject::Owner => write!(f, "owner@")?,
            Subject::OwningGroup => write!(f, "group@")?,
            Subject::User(uid) => write!(f, "user:{uid}")?,
            Subject::Group(gid) => write!(f, "group:{gid}")?,
            Subject::Everyone => write!(f, "everyone@")?,
        }
        let kind = if self.allows { "allow" } else { "deny" };
        write!(f, ":{}:{kind}", self.letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKE: u32 = WRITE | EXECUTE;

    fn list(entries: &[(Subject, u32)], mask: Option<u32>) -> Acl {
        let entry = |(who, rights): &(Subject, u32)| PosixEntry {
            who: *who,
            rights: *rights,
        };
        Acl::Posix {
            entries: entries.iter().map(entry).collect(),
            mask,
        }
    }

    /// Says what the list of a folder of root's says to uid 34 with these groups.
    fn says(acl: &Acl, groups: &[u32], rights: u32) -> (bool, Option<String>) {
        let ruling = acl.judge(
            |who| match who {
                Subject::Owner => false,
                Subject::OwningGroup => groups.contains(&0),
                Subject::User(uid) => uid == 34,
                Subject::Group(gid) => groups.contains(&gid),
                Subject::Everyone => true,
            },
            rights,
        );
        (ruling.granted, ruling.entry)
    }

    #[test]
    fn the_closest_posix_entry_decides_within_the_mask() {
        use Subject::{Everyone, Group, Owner, OwningGroup, User};
        let of = |named: (Subject, u32), mask| {
            list(
                &[(Owner, 7), named, (OwningGroup, 5), (Everyone, 7)],
                Some(mask),
            )
        };
        for (acl, groups, granted, entry) in [
            (of((User(34), 7), 7), &[34][..], true, "user:34:rwx"),
            (of((User(34), 5), 7), &[34], false, "user:34:r-x"),
            (
                of((User(34), 7), 5),
                &[34],
                false,
                "user:34:rwx cut to r-x by its mask",
            ),
            // A group that denies keeps everybody else's entry from being looked at.
            (of((Group(50), 1), 7), &[34, 50], false, "group:50:--x"),
            (of((Group(50), 7), 7), &[0, 50], true, "group:50:rwx"),
            (of((Group(50), 7), 7), &[0], false, "group::r-x"),
            (of((User(9), 0), 0), &[34], true, "other::rwx"),
        ] {
            let expected = (granted, Some(entry.to_owned()));
            assert_eq!(says(&acl, groups, MAKE), expected, "{acl:?}");
        }
        assert_eq!(says(&list(&[], None), &[], MAKE), (false, None));
    }

    #[test]
    fn the_first_nfs4_entry_on_a_right_decides() {
        let entry = |who, letters: &str, allows| Nfs4Entry {
            who,
            letters: letters.to_owned(),
            allows,
        };
        let everyone = entry(Subject::Everyone, "r-x---a-R-c--s", true);
        let all = |who| entry(who, "rwxpDdaARWcCos", true);
        let denies = entry(Subject::User(34), "---p----------", false);
        let says = |entries: &[&Nfs4Entry]| {
            let entries = entries.iter().map(|entry| (*entry).clone()).collect();
            says(&Acl::Nfs4 { entries }, &[34], MAKE)
        };
        let of = |text: &str| Some(text.to_owned());
        // What nobody gives is denied, and then no entry can be named.
        assert_eq!(says(&[&all(Subject::Owner), &everyone]), (false, None));
        assert_eq!(
            says(&[&denies, &all(Subject::User(34))]),
            (false, of("user:34:---p----------:deny"))
        );
        assert_eq!(
            says(&[&all(Subject::User(34)), &denies]),
            (true, of("user:34:rwxpDdaARWcCos:allow"))
        );
        assert_eq!(
            says(&[&everyone, &all(Subject::Group(34))]),
            (true, of("group:34:rwxpDdaARWcCos:allow"))
        );
    }

    #[test]
    fn a_change_of_mode_changes_the_mask_and_no_named_entry() {
        let mut acl = list(
            &[
                (Subject::Owner, 7),
                (Subject::User(34), 7),
                (Subject::OwningGroup, 7),
                (Subject::Everyone, 0),
            ],
            Some(7),
        );
        acl.set_mode(0o755);
        let (granted, entry) = says(&acl, &[34], MAKE);
        let cut = "user:34:rwx cut to r-x by its mask";
        assert_eq!((granted, entry.as_deref()), (false, Some(cut)));
        let mut plain = list(&[(Subject::OwningGroup, 7), (Subject::Everyone, 7)], None);
        plain.set_mode(0o750);
        assert_eq!(
            plain,
            list(&[(Subject::OwningGroup, 5), (Subject::Everyone, 0)], None)
        );
    }
}

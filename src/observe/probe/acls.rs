//! Access control lists on the way to datastores and shares.
//!
//! Programs are asked once for all components, and say nothing of those without a list. Where
//! they are missing, mode bits and the system's own verdict are all there is.

use std::collections::BTreeMap;

use crate::model::acl::{Acl, EXECUTE, Nfs4Entry, PosixEntry, READ, Subject, WRITE};
use crate::model::observed::PathFacts;
use crate::observe::records::Records;

/// Components that are asked for stand in `$acls`, a line each.
///
/// A name with a line break or a backslash would be written in another way; nobody asks for it.
/// `nfs4xdr_getfacl` is TrueNAS's, and `$acls` holds `/`, which it would name trivial.
pub(super) const FUNCTION: &str = r#"
acls=$nl
has_acl() {
    for c do
        case $c in *"$nl"*|*\\*) continue ;; esac
        case $acls in *"$nl$c$nl"*) ;; *) acls=$acls$c$nl ;; esac
    done
}
say_acls() {
    [ "$acls" != "$nl" ] || return
    set -f; IFS=$nl; set -- $acls; unset IFS; set +f
    for c in getfacl nfs4xdr_getfacl; do
        command -v $c >/dev/null 2>&1 || continue
        case $c in getfacl) o=-nps ;; *) o=-n ;; esac
        out "acl.$c" "$($c $o -- "$@" 2>/dev/null </dev/null | head -c 262144)"
    done
}
"#;

/// Asks for what was collected.
pub(super) const COMMAND: &str = "say_acls\n";

/// The most entries of a list that are read; filesystems keep fewer.
const ENTRIES_MAX: usize = 2048;

/// Gives every component its list.
pub(super) fn put(records: &Records<'_>, paths: &mut BTreeMap<String, PathFacts>) {
    let said = |program: &str| records.get(program).map(String::from_utf8_lossy);
    let mut lists = BTreeMap::new();
    if let Some(text) = said("acl.nfs4xdr_getfacl") {
        lists.extend(each(&text, "# File: ", nfs4));
    }
    if let Some(text) = said("acl.getfacl") {
        lists.extend(each(&text, "# file: ", posix));
    }
    let components = paths.values_mut().flat_map(|seen| &mut seen.components);
    for component in components {
        component.acl = lists.get(&component.path).cloned();
    }
}

/// Reads the part of each file, which its name begins; what makes no sense is no list.
fn each(text: &str, head: &str, read: fn(&[&str]) -> Option<Acl>) -> BTreeMap<String, Acl> {
    let mut lists = BTreeMap::new();
    let mut name = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().chain([head]) {
        let Some(next) = line.strip_prefix(head) else {
            lines.push(line);
            continue;
        };
        if let Some(name) = name.replace(unescaped(next))
            && let Some(list) = read(&lines)
        {
            lists.insert(name, list);
        }
        lines.clear();
    }
    lists
}

/// Undoes what `getfacl` does to a name: a byte that it does not print becomes `\NNN`.
fn unescaped(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads lines such as `user:34:r-x`, perhaps with `#effective:…`.
fn posix(lines: &[&str]) -> Option<Acl> {
    let (mut entries, mut mask) = (Vec::new(), None);
    let told = lines
        .iter()
        .filter(|line| !is_remark(line))
        .take(ENTRIES_MAX);
    for line in told.filter(|line| !line.starts_with("default:")) {
        let line = line.split(['#', '\t']).next()?.trim_end();
        let mut fields = line.split(':');
        let (kind, name, rights) = (fields.next()?, fields.next()?, rights(fields.next()?)?);
        let who = match (kind, name) {
            ("mask", _) => {
                mask = Some(rights);
                continue;
            }
            ("user", "") => Subject::Owner,
            ("group", "") => Subject::OwningGroup,
            ("other", _) => Subject::Everyone,
            ("user", uid) => Subject::User(uid.parse().ok()?),
            ("group", gid) => Subject::Group(gid.parse().ok()?),
            _ => return None,
        };
        entries.push(PosixEntry { who, rights });
    }
    // One that was cut off says less than the mode bits.
    let whole = [Subject::Owner, Subject::OwningGroup, Subject::Everyone];
    let has = |who: &Subject| entries.iter().any(|entry| entry.who == *who);
    whole
        .iter()
        .all(has)
        .then_some(Acl::Posix { entries, mask })
}

fn rights(text: &str) -> Option<u32> {
    let mut bits = text.chars().map(|letter| match letter {
        'r' => Some(READ),
        'w' => Some(WRITE),
        'x' => Some(EXECUTE),
        '-' => Some(0),
        _ => None,
    });
    bits.try_fold(0, |all, bit| Some(all | bit?))
}

/// Reads lines such as `user:34:r-x---a-R-c--s:fd-----:allow`.
///
/// Of entries that are made for new files only, nothing counts for the folder itself; nor do
/// those that would only report. A trivial list says what the mode says.
fn nfs4(lines: &[&str]) -> Option<Acl> {
    if lines.contains(&"# trivial_acl: true") {
        return None;
    }
    let mut entries = Vec::new();
    for line in lines
        .iter()
        .filter(|line| !is_remark(line))
        .take(ENTRIES_MAX)
    {
        let mut fields = line.trim().split(':');
        let who = match fields.next()? {
            "owner@" => Subject::Owner,
            "group@" => Subject::OwningGroup,
            "everyone@" => Subject::Everyone,
            "user" => Subject::User(fields.next()?.parse().ok()?),
            "group" => Subject::Group(fields.next()?.parse().ok()?),
            _ => return None,
        };
        let (letters, flags, kind) = (fields.next()?, fields.next()?, fields.next()?);
        if !is_letters(letters) {
            return None;
        }
        let allows = match kind {
            "allow" => true,
            "deny" => false,
            _ => continue,
        };
        if !flags.contains('i') {
            entries.push(Nfs4Entry {
                who,
                letters: letters.to_owned(),
                allows,
            });
        }
    }
    (!entries.is_empty()).then_some(Acl::Nfs4 { entries })
}

fn is_letters(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|b| b == b'-' || b.is_ascii_alphabetic())
}

fn is_remark(line: &str) -> bool {
    line.is_empty() || line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Recorded: getfacl 2.3.1 on ext4, Linux 6.1; paths shortened.
    const POSIX: &str = include_str!("../../../tests/cases/acl/getfacl-ext4.txt");
    // Recorded: the same on ZFS 2.1.11 with acltype=posix; a dataset without lists is left out.
    const ON_ZFS: &str = include_str!("../../../tests/cases/acl/getfacl-zfs.txt");
    // Synthetic: written after the source of TrueNAS's nfs4xdr-acl-tools.
    const NFS4: &str = include_str!("../../../tests/cases/acl/nfs4xdr-synthetic.txt");

    fn words(acl: &Acl) -> Vec<String> {
        match acl {
            Acl::Posix { entries, mask } => {
                let entries = entries.iter().map(ToString::to_string);
                let mask = mask.map(|mask| format!("mask::{}", crate::model::acl::triple(mask)));
                entries.chain(mask).collect()
            }
            Acl::Nfs4 { entries } => entries.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn posix_lists_are_read_as_they_were_recorded() {
        let lists = each(POSIX, "# file: ", posix);
        let names: Vec<&str> = lists.keys().map(String::as_str).collect();
        let expected = [
            "/m/denied",
            "/m/granted",
            "/m/group",
            "/m/masked",
            "/m/odd na\nme\\x",
            "/m/sticky",
        ];
        // Nobody asks for the odd one; it is read without harm all the same.
        assert_eq!(names[..4], expected[..4]);
        assert_eq!(names.len(), expected.len());
        assert_eq!(
            words(&lists["/m/masked"]),
            [
                "user::rwx",
                "user:34:rwx",
                "group::r-x",
                "group:50:rwx",
                "other::r-x",
                "mask::r-x"
            ]
        );
        // What new files get does not count for the folder.
        assert_eq!(words(&lists[names[4]]).len(), 5);
    }

    #[test]
    fn a_list_on_zfs_is_read_like_any_other() {
        let lists = each(ON_ZFS, "# file: ", posix);
        assert_eq!(lists.keys().collect::<Vec<_>>(), ["/srv/pbs"]);
        assert!(words(&lists["/srv/pbs"]).contains(&"user:34:rwx".to_owned()));
    }

    #[test]
    fn nfs4_lists_are_read_in_their_order_and_trivial_ones_are_none() {
        let lists = each(NFS4, "# File: ", nfs4);
        let names: Vec<&str> = lists.keys().map(String::as_str).collect();
        assert_eq!(names, ["/mnt/tank/pbs"]);
        assert_eq!(
            words(&lists["/mnt/tank/pbs"]),
            [
                "owner@:rwxpDdaARWcCos:allow",
                "user:34:-w-p----------:deny",
                "group:50:rwxpDdaARWc--s:allow",
                "everyone@:r-x---a-R-c--s:allow"
            ]
        );
    }

    #[test]
    fn what_is_cut_off_or_makes_no_sense_is_no_list() {
        for text in [
            "user::rwx\nuser:34:r",
            "user::rwx\ngroup::r-x\nother::r?x",
            "user::rwx\ngroup::r-x\nuser:backup:rwx\nother::r-x",
            "nonsense",
            "",
        ] {
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(posix(&lines), None, "{text}");
        }
        for text in [
            "owner@",
            "user:34:rwx",
            "user:x:rwx:-------:allow",
            "",
            "everyone@:\u{1b}[2J:-------:allow",
        ] {
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(nfs4(&lines), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = each(&format!("# file: {text}"), "# file: ", posix);
            let _ = each(&format!("# File: /a\n{text}"), "# File: ", nfs4);
        }
    }
}

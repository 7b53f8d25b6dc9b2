//! Paths: every component with its owner and mode, the mount, the space.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::ByteSize;
use crate::model::mounts::Mounts;
use crate::model::observed::{Component, ComponentKind, Outcome, PathFacts, Space};
use crate::observe::records::{Records, text};
use crate::observe::wanted::Wanted;

/// Looks at `$2` under the number `$1`; what is missing is seen as far as it exists, and with
/// `$3` it is looked whether anything is in it and who else has rights on the way.
///
/// A fresh filesystem's `lost+found` is no content, nor are the folders without files that
/// an interrupted making of a repository leaves: whoever finishes it finds nothing of value.
const FUNCTION: &str = r#"
look() {
    k=path.$1 a=$2 o=ok
    if ! is_alive "$1"; then out "$k.outcome" timeout; return; fi
    e=$3
    if ! [ -e "$a" ]; then
        m=$(stat -L -c %f "$a" 2>&1) || case $m in *[Pp]ermission*) o=denied ;; *) o=missing ;; esac
    fi
    out "$k.outcome" $o
    until [ -e "$a" ] || [ "$a" = / ]; do a=${a%/*}; a=${a:-/}; done
    r=$a
    if ! is_real "$a"; then r=$(readlink -f "$a"; echo _); r=${r%_}; r=${r%"$nl"}; r=${r:-$a}; fi
    out "$k.real" "$r"
    set -- /
    c= rest=${r#/}
    while [ -n "$rest" ]; do
        c=$c/${rest%%/*}
        set -- "$@" "$c"
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
    done
    out "$k.stats" "$(stat -c '%f %u %g' "$@" 2>/dev/null)"
    [ -z "$e" ] || has_acl "$@"
    space_of "${k#path.}"
    [ -n "$s" ] || s=$(stat -f -c '%S %b %a %c %d' "$r" 2>/dev/null) || s=$(df -Pk "$r" 2>/dev/null | tail -n 1)
    out "$k.space" "$s"
    if [ -n "$e" ] && [ $o = ok ] && [ -d "$r" ] && [ -r "$r" ] && [ -x "$r" ]; then
        if is_empty "$r"; then out "$k.empty" yes; else out "$k.empty" no; fi
    fi
}
is_real() {
    case $1/ in //) return 0 ;; *//*|*/./*|*/../*) return 1 ;; esac
    c= rest=${1#/}
    while [ -n "$rest" ]; do
        c=$c/${rest%%/*}
        [ -L "$c" ] && return 1
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
    done
}
is_empty() {
    set -- "$1" keys packs meta index snapshots receipts gc verify proofs recovery damaged sessions
    top=$1 names=
    shift
    for name do names="$names ! -name $name"; done
    [ -z "$(find "$top/." ! -name . -prune ! -name lost+found ! -name tmp $names -print 2>/dev/null | head -c 1)" ] || return 1
    [ -f "$top/tmp/lock" ] || set -- "$@" tmp
    # Slots of a key and a marker's copy come before the marker itself: whoever was killed in
    # between left nothing that they could open.
    for name do
        case $name in keys|recovery) continue ;; esac
        [ -z "$(find "$top/$name" ! -type d -print 2>/dev/null | head -c 1)" ] || return 1
    done
}
"#;

/// The first argument is the state folder, the wanted paths follow.
///
/// Whether a source is empty matters to nobody, and it may be long to list.
pub(super) fn command(wanted: &Wanted) -> String {
    let mut text = format!("{FUNCTION}\nif [ -n \"$folder\" ]; then look 0 \"$1\"; fi\nshift\n");
    for (index, path) in wanted.paths.iter().enumerate() {
        let is_source = wanted
            .sources
            .iter()
            .any(|source| source.paths.contains(path));
        let is_store = wanted.datastores.iter().any(|store| store.path == *path);
        let entries = if is_source && !is_store { "" } else { " e" };
        writeln!(text, "look {} \"$1\"{entries}; shift", index + 1)
            .expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(
    records: &Records<'_>,
    paths: &[String],
    mounts: &Mounts,
) -> BTreeMap<String, PathFacts> {
    let facts = |(index, path): (usize, &String)| {
        let facts = one(records, index + 1, path, mounts)?;
        Some((path.clone(), facts))
    };
    paths.iter().enumerate().filter_map(facts).collect()
}

/// Reads what was seen of the path with this number.
pub(super) fn one(
    records: &Records<'_>,
    number: usize,
    path: &str,
    mounts: &Mounts,
) -> Option<PathFacts> {
    let key = |part: &str| format!("path.{number}.{part}");
    let outcome = match records.text(&key("outcome"))?.as_str() {
        "ok" => Outcome::Ok,
        "denied" => Outcome::Denied,
        "timeout" => Outcome::Timeout,
        _ => Outcome::Missing,
    };
    let real = records
        .get(&key("real"))
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let components = match &real {
        Some(real) => components(real, records.get(&key("stats")).unwrap_or_default()),
        None => Vec::new(),
    };
    Some(PathFacts {
        outcome,
        components,
        mount: mounts.covering(real.as_deref().unwrap_or(path)).cloned(),
        space: records
            .get(&key("space"))
            .and_then(|bytes| space(&text(bytes))),
        empty: records.text(&key("empty")).map(|word| word == "yes"),
    })
}

/// The deepest path that is followed.
const DEPTH_MAX: usize = 512;

/// Joins the components of a path with the lines that `stat` wrote for them.
fn components(real: &str, stats: &[u8]) -> Vec<Component> {
    let mut names = vec!["/".to_owned()];
    let mut path = String::new();
    for part in real
        .split('/')
        .filter(|part| !part.is_empty())
        .take(DEPTH_MAX)
    {
        path.push('/');
        path.push_str(part);
        names.push(path.clone());
    }
    let lines = stats
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    names
        .into_iter()
        .zip(lines)
        .map_while(|(path, line)| component(path, &text(line)))
        .collect()
}

/// Reads `mode-in-hex uid gid`.
fn component(path: String, line: &str) -> Option<Component> {
    let mut words = line.split(' ');
    let mode = u32::from_str_radix(words.next()?, 16).ok()?;
    let kind = match mode & 0o170_000 {
        0o040_000 => ComponentKind::Directory,
        0o100_000 => ComponentKind::File,
        0o060_000 => ComponentKind::BlockDevice,
        _ => ComponentKind::Other,
    };
    Some(Component {
        path,
        kind,
        uid: words.next()?.parse().ok()?,
        gid: words.next()?.parse().ok()?,
        mode: mode & 0o7777,
        acl: None,
    })
}

/// Reads `block-size blocks free inodes inodes-free`, or a line of `df -Pk`.
pub(super) fn space(line: &str) -> Option<Space> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |word: &&str| word.parse::<u64>().ok();
    if let Some([block, blocks, free, inodes_total, inodes_free]) = words
        .iter()
        .map(number)
        .collect::<Option<Vec<u64>>>()
        .as_deref()
    {
        return Some(Space {
            total: ByteSize(blocks.saturating_mul(*block)),
            free: ByteSize(free.saturating_mul(*block)),
            inodes_total: *inodes_total,
            inodes_free: *inodes_free,
        });
    }
    // The share in use is the one word with a percent sign; names may hold blanks.
    let percent = words.iter().rposition(|word| {
        word.strip_suffix('%')
            .is_some_and(|n| n.parse::<u64>().is_ok())
    })?;
    let kibibytes = |place: usize| Some(ByteSize(number(words.get(place)?)?.saturating_mul(1024)));
    Some(Space {
        total: kibibytes(percent.checked_sub(3)?)?,
        free: kibibytes(percent - 1)?,
        inodes_total: 0,
        inodes_free: 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn components_are_read_as_far_as_they_were_seen() {
        let seen = components("/srv/data", b"41ed 0 0\n41ed 0 0\n41e8 34 34\n");
        let last = Component {
            path: "/srv/data".into(),
            kind: ComponentKind::Directory,
            uid: 34,
            gid: 34,
            mode: 0o750,
            acl: None,
        };
        assert_eq!((seen.len(), seen.last()), (3, Some(&last)));
        assert_eq!(
            components("/srv/data", b"41ed 0 0\nodd\n41e8 34 34\n").len(),
            1
        );
        assert_eq!(components("/", b"41ed 0 0\n").len(), 1);
        assert_eq!(components("/a", b"").len(), 0);
    }

    #[test]
    fn space_is_read_from_stat_and_from_df() {
        let stat = space("4096 1000 250 64 60").expect("a line of stat -f");
        assert_eq!(
            (stat.total, stat.free),
            (ByteSize(4_096_000), ByteSize(1_024_000))
        );
        assert_eq!((stat.inodes_total, stat.inodes_free), (64, 60));
        let df = space("/dev/sda1 1000 300 700 30% /mnt/my disk").expect("a line of df -Pk");
        assert_eq!(
            (df.total, df.free),
            (ByteSize(1_024_000), ByteSize(716_800))
        );
        for line in ["", "a b c d e", "30%", "1 30% /", "4096 1 1 1"] {
            assert_eq!(space(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(real: String, stats: Vec<u8>, line: String) {
            let _ = components(&real, &stats);
            let _ = space(&line);
            let _ = space(&format!("{line}% {line}"));
        }
    }
}

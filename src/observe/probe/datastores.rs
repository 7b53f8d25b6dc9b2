//! Datastores: their markers, the clear parts of their snapshots, their proofs, and who
//! owns what is in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::observed::{DatastoreFacts, DayFacts};
use crate::model::snapshot::SnapshotHead;
use crate::model::{ByteSize, Name, Timestamp};
use crate::observe::records::{Records, text};
use crate::observe::wanted::{Wanted, WantedDatastore};
use crate::transport::shell_assign;

/// How many of the newest snapshots of a source, and proofs of a drill, are read.
const NEWEST: usize = 8;

/// Of how many days the sizes of snapshots are read.
const DAYS: usize = 30;

/// Where counting foreign entries stops.
const FOREIGN_MAX: u64 = 10_000;

/// `store NUMBER PATH-NUMBER PATH MEASURED UID GID`.
///
/// Over the network root is often nobody, to whom what a folder's owner keeps to itself is
/// closed; then it is read as that owner, by a shell that is told these functions.
///
/// File names of snapshots and proofs begin with their time, so that their order by
/// name is the order of time, and their days cost nothing to count. Of each day only the
/// newest snapshot's first line is read, by one process for all. Foreign entries are sought within a deadline: counting
/// matters less than an answer.
const FUNCTION: &str = r#"
newest() { all=$(ls -1r "$1" 2>/dev/null); set -f; IFS=$nl; set -- $all; unset IFS; set +f; count=$#; list=; n=0
    for e in "$@"; do [ $n -ge NEWEST ] && break; list=$list$e$nl; n=$((n + 1)); done; }
days() {
    dir=$1 day= c=0 m=0 old=
    set -f; IFS=$nl; set -- $all; unset IFS; set +f
    for e in "$@"; do
        case $e in [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T*) t=${e%%T*} ;; *) continue ;; esac
        if [ "$t" = "$day" ]; then c=$((c + 1)); continue; fi
        if [ -n "$day" ]; then echo "$day $c"; fi
        day= m=$((m + 1))
        [ $m -gt DAYS_MAX ] && break
        day=$t c=1 old=$old$dir/$e$nl
    done
    if [ -n "$day" ]; then echo "$day $c"; fi
    set -f; IFS=$nl; set -- $old; unset IFS; set +f
    [ $# -gt 0 ] || return 0
    head -n 1 -- "$@" /dev/null 2>/dev/null | head -c 131072 | sed -n \
        -e 's/^==> .*\/\([0-9]*\)T[^/]* <==$/\1/;t day' \
        -e 's/^{.*"bytes":\([0-9]*\),.*"stored_bytes":\([0-9]*\).*/\1 \2/;t size' \
        -e 'd' -e ':day' -e 'h;d' -e ':size' -e 'H;x;s/\n/ /;p'
}
foreign() {
    (
        quietly
        (
            find_foreign() { $within find "$d/." -xdev -name lost+found -prune -o ! -name . ! -user "$u" -print; }
            n=$(find_foreign | head -n FOREIGN_STOP | wc -l)
            e=
            if [ "$n" -gt 0 ]; then
                e=$(find_foreign | head -n 1)
                e="${e#"$d/./"} $(stat -c '%u:%g' "$e")"
            fi
            echo "$n $e"
        ) &
        ( sleep "$limit"; echo late ) &
    ) | collect 1
}
measure() {
    (
        quietly
        ( $within du -skx "$d" ) &
        ( sleep "$limit"; echo late ) &
    ) | collect 1
}
may_write() {
    if [ "$uid" = "$u" ]; then
        if [ -w "$d" ] && [ -x "$d" ]; then echo yes; else echo no; fi
    elif [ "$uid" = 0 ]; then
        setpriv --reuid="$u" --regid="$g" --clear-groups \
            sh -c 'if [ -w "$1" ] && [ -x "$1" ]; then echo yes; else echo no; fi' sh "$d" 2>/dev/null
    fi
}
marker() {
    if [ -f "$2" ] && ! [ -r "$2" ]; then out "$1.unreadable" "$2"; fi
    show "$1" "$2" 65536
}
store() {
    k=ds.$1 d=$3 m=$4 u=$5 g=$6
    if ! is_alive "$2" || ! [ -d "$d" ]; then return; fi
    if [ "$uid" = 0 ] && is_closed && as_owner true 2>/dev/null; then
        as_owner sh -c "$prelude$reading"'k=$1 d=$2 m=$3 u=$4 limit=$5 within=$6; read_store' sh \
            "$k" "$d" "$m" "$u" "$limit" "$within"
    else
        read_store
    fi
    out "$k.writable" "$(may_write)"
}
as_owner() {
    o=$(stat -c '%u %g' "$d")
    setpriv --reuid="${o% *}" --regid="${o#* }" --clear-groups "$@"
}
is_closed() {
    for e in "$d" "$d/snapshots"; do [ -d "$e" ] && ! { [ -r "$e" ] && [ -x "$e" ]; } && return 0; done
    for e in "$d/bkpctl.json" "$d/managed.json"; do [ -f "$e" ] && ! [ -r "$e" ] && return 0; done
    return 1
}
read_store() {
    marker "$k.marker" "$d/bkpctl.json"
    marker "$k.managed" "$d/managed.json"
    for s in "$d"/snapshots/*; do
        [ -d "$s" ] || continue
        newest "$s"
        out "$k.source" "${s##*/}"
        out "$k.count" "$count"
        out "$k.days" "$(days "$s")"
        while IFS= read -r e; do
            [ -n "$e" ] && out "$k.head" "$(head -c 4096 "$s/$e" 2>/dev/null)"
        done <<LIST
$list
LIST
    done
    for s in "$d"/proofs/*; do
        [ -d "$s" ] || continue
        newest "$s"
        while IFS= read -r e; do
            [ -n "$e" ] && show "$k.proof" "$s/$e" 65536
        done <<LIST
$list
LIST
    done
    if [ -r "$d" ] && [ -x "$d" ]; then out "$k.foreign" "$(foreign)"; fi
    if [ "$m" = true ]; then out "$k.kib" "$(measure)"; fi
}
"#;

/// `prelude` holds the functions that every section may use.
pub(super) fn command(wanted: &Wanted, prelude: &str, seconds: u64) -> String {
    let mut text = format!(
        "limit={seconds}\nwithin=\nif command -v timeout >/dev/null 2>&1; then within=\"timeout $limit\"; fi\n"
    );
    if wanted.datastores.is_empty() {
        return text;
    }
    let reading = FUNCTION
        .replace("NEWEST", &NEWEST.to_string())
        .replace("DAYS_MAX", &DAYS.to_string())
        .replace("FOREIGN_STOP", &(FOREIGN_MAX + 1).to_string());
    let (prelude, reading) = (quoted(prelude), quoted(&reading));
    writeln!(
        text,
        "prelude={prelude}\nreading={reading}\neval \"$reading\""
    )
    .expect("writing to a String never fails");
    for (number, datastore) in wanted.datastores.iter().enumerate() {
        let Some(path) = wanted.index(&datastore.path) else {
            continue;
        };
        text.push_str(&shell_assign("p", &datastore.path));
        let owner = match datastore.owner {
            Some((uid, gid)) => format!("{uid} {gid}"),
            None => "\"$luid\" \"$lgid\"".to_owned(),
        };
        // The state folder is the path with the number 0.
        let (path, measured) = (path + 1, datastore.measured);
        writeln!(text, "store {number} {path} \"$p\" {measured} {owner}")
            .expect("writing to a String never fails");
    }
    text
}

/// Writes our own text as one word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

pub(super) fn parse(
    records: &Records<'_>,
    wanted: &[WantedDatastore],
) -> BTreeMap<Name, DatastoreFacts> {
    let facts = |(number, datastore): (usize, &WantedDatastore)| {
        (datastore.name.clone(), one(records, number))
    };
    wanted.iter().enumerate().map(facts).collect()
}

fn one(records: &Records<'_>, number: usize) -> DatastoreFacts {
    let mut facts = DatastoreFacts::default();
    let mut source: Option<Name> = None;
    for (key, value) in records.below(&format!("ds.{number}")) {
        match key {
            "marker" => read_marker(&mut facts, value),
            "marker.unreadable" => facts.marker_problem = Some("permission denied".to_owned()),
            "managed" => facts.managed = serde_json::from_slice(value).ok(),
            "source" => source = Name::new(text(value)).ok(),
            "count" => {
                if let (Some(source), Ok(count)) = (&source, text(value).parse()) {
                    facts.counts.insert(source.clone(), count);
                }
            }
            "days" => {
                let days = days(&text(value));
                if let Some(source) = source.as_ref().filter(|_| !days.is_empty()) {
                    facts.history.insert(source.clone(), days);
                }
            }
            "head" => {
                if let (Some(source), Some(head)) = (&source, head(value)) {
                    // A manifest in the wrong folder is not a snapshot of this source.
                    if head.source == *source {
                        facts
                            .snapshots
                            .entry(source.clone())
                            .or_default()
                            .push(head);
                    }
                }
            }
            "proof" => facts
                .proofs
                .extend(serde_json::from_slice::<crate::model::markers::Proof>(value).ok()),
            "kib" => facts.bytes = kibibytes(&text(value)),
            "foreign" => read_foreign(&mut facts, &text(value)),
            "writable" => {
                facts.owner_may_write = match text(value).as_str() {
                    "yes" => Some(true),
                    "no" => Some(false),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    facts
        .proofs
        .sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.source.cmp(&b.source)));
    facts
}

fn read_marker(facts: &mut DatastoreFacts, bytes: &[u8]) {
    match serde_json::from_slice(bytes) {
        Ok(marker) => facts.marker = Some(marker),
        // The error's own words may repeat what the file holds, and it may be anybody's.
        Err(error) => {
            let place = format!("line {} column {}", error.line(), error.column());
            facts.marker_problem = Some(format!("not a marker: not understood at {place}"));
        }
    }
}

/// Reads the clear first line of a manifest.
fn head(bytes: &[u8]) -> Option<SnapshotHead> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

/// Reads how many snapshots each day has, `20261123 4`, and what the newest of a day says of
/// its bytes, `20261123 RESTORED STORED`; a day of which only one is known is left out.
fn days(lines: &str) -> Vec<DayFacts> {
    let fields = |line: &str| -> Vec<u64> {
        let fields = line.split(' ').map(str::parse);
        fields.collect::<Result<_, _>>().unwrap_or_default()
    };
    let mut counts = Vec::new();
    let mut sizes = BTreeMap::new();
    for line in lines.lines() {
        match fields(line)[..] {
            [day, snapshots] => counts.push((day, snapshots)),
            [day, bytes, stored] => drop(sizes.insert(day, (ByteSize(bytes), ByteSize(stored)))),
            _ => {}
        }
    }
    let known = counts.into_iter().take(DAYS);
    known
        .filter_map(|(number, snapshots)| {
            let (bytes, stored) = *sizes.get(&number)?;
            Some(DayFacts {
                day: Timestamp::of_day(&number.to_string())?,
                snapshots,
                stored,
                bytes,
            })
        })
        .collect()
}

/// Reads what `du` says of a folder; none where it was too late.
fn kibibytes(line: &str) -> Option<ByteSize> {
    let (kibibytes, _) = line.split_once(char::is_whitespace)?;
    let kibibytes: u64 = kibibytes.parse().ok()?;
    Some(ByteSize(kibibytes.saturating_mul(1024)))
}

/// Reads `count`, or `count path uid:gid`; what came too late stays unknown.
fn read_foreign(facts: &mut DatastoreFacts, line: &str) {
    let (count, example) = line.split_once(' ').unwrap_or((line, ""));
    let Ok(count) = count.parse::<u64>() else {
        return;
    };
    facts.foreign_entries = Some(count.min(FOREIGN_MAX));
    if count > 0 && !example.is_empty() {
        facts.foreign_example = Some(example.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"format":1,"id":"ab","source":"etc","writer":"pve1","started":1,"finished":2,"complete":true,"files":3,"bytes":4,"new_bytes":5,"stored_bytes":6,"machine":"m","refs":"00","skipped":0}"#;

    fn read(pairs: &[(&str, &str)]) -> DatastoreFacts {
        let mut bytes = String::new();
        for (key, value) in pairs {
            writeln!(bytes, "ds.0.{key} {}\n{value}", value.len())
                .expect("writing to a String never fails");
        }
        one(&Records::read(bytes.as_bytes()).expect("well-formed"), 0)
    }

    #[test]
    fn heads_belong_to_the_source_before_them() {
        let elsewhere = HEAD.replace("\"etc\"", "\"home\"");
        let manifest = format!("{HEAD}\nmac\nsealed");
        let facts = read(&[
            ("source", "etc"),
            ("count", "12"),
            ("head", &manifest),
            ("head", "{\"half\":"),
            ("head", &elsewhere),
            ("source", "../x"),
            ("count", "7"),
            ("head", HEAD),
        ]);
        let etc = Name::new("etc").expect("a name");
        assert_eq!(facts.snapshots.len(), 1);
        assert_eq!(facts.snapshots[&etc].len(), 1);
        assert_eq!(facts.snapshots[&etc][0].bytes.0, 4);
        assert_eq!(facts.counts, BTreeMap::from([(etc, 12)]));
    }

    #[test]
    fn a_day_is_known_by_its_count_and_the_sizes_of_its_newest_snapshot() {
        let lines = "20261123 4\n20261122 1\n20261121 2\n20261123 900 70\n20261121 880 x\n20261122 890 60\nboo\n9 9\n9 9 9";
        let facts = read(&[("source", "etc"), ("days", lines), ("days", "")]);
        let days = &facts.history[&Name::new("etc").expect("a name")];
        let seen: Vec<_> = days
            .iter()
            .map(|day| {
                (
                    day.day.to_string(),
                    day.snapshots,
                    day.bytes.0,
                    day.stored.0,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("2026-11-23T00:00:00Z".to_owned(), 4, 900, 70),
                ("2026-11-22T00:00:00Z".to_owned(), 1, 890, 60),
            ]
        );
    }

    #[test]
    fn a_marker_that_is_none_is_a_problem_not_an_absence() {
        let facts = read(&[("marker", "{\"format\":")]);
        assert!(facts.marker.is_none());
        assert!(facts.marker_problem.is_some());
        let facts = read(&[(
            "marker",
            r#"{"format":1,"repository":"a","home":"h","domain":"d","more":1}"#,
        )]);
        assert_eq!(facts.marker.map(|marker| marker.home), Some("h".to_owned()));
        assert_eq!(facts.marker_problem, None);
        assert!(
            read(&[("marker.unreadable", "/x")])
                .marker_problem
                .is_some()
        );
    }

    #[test]
    fn foreign_entries_are_known_only_if_counted_in_time() {
        let foreign = |line: &str| {
            let facts = read(&[("foreign", line)]);
            (facts.foreign_entries, facts.foreign_example)
        };
        assert_eq!(foreign("0"), (Some(0), None));
        assert_eq!(
            foreign("3 packs/a b 0:0"),
            (Some(3), Some("packs/a b 0:0".into()))
        );
        assert_eq!(foreign("10001 x 0:0").0, Some(FOREIGN_MAX));
        assert_eq!(foreign(""), (None, None));
        assert_eq!(read(&[("writable", "no")]).owner_may_write, Some(false));
        assert_eq!(read(&[("writable", "")]).owner_may_write, None);
    }
}

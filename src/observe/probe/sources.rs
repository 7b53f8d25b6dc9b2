//! Sources: whether we may read them and roughly how large they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::observed::SourceFacts;
use crate::model::{ByteSize, Name};
use crate::observe::records::Records;
use crate::observe::wanted::{Wanted, WantedSource};
use crate::transport::shell_assign;

/// `readable NUMBER PATH…`, `size NUMBER OPTION PATH…` and `volume NUMBER OPTION PATH`.
///
/// Only digits reach the shell's arithmetic, which some shells evaluate as code.
const FUNCTION: &str = r#"
readable() {
    k=src.$1.readable; shift
    for p in "$@"; do
        if ! [ -r "$p" ] || { [ -d "$p" ] && ! [ -x "$p" ]; }; then out "$k" no; return; fi
    done
    out "$k" yes
}
size() {
    i=$1; shift
    $within du "$@" 2>/dev/null | {
        t=
        while read -r kib rest; do
            case $kib in ''|*[!0-9]*) ;; *) t=$((${t:-0} + kib)) ;; esac
        done
        echo "$i $t"
    }
}
volume() {
    if ! [ -b "$3" ]; then size "$@"; return; fi
    d=$(readlink -f "$3") s=
    read -r s <"/sys/class/block/${d##*/}/size"
    case $s in ''|*[!0-9]*) echo "$1" ;; *) echo "$1 $((s / 2))" ;; esac
}
"#;

pub(super) fn command(wanted: &Wanted, estimate_seconds: Option<u64>) -> String {
    let mut text = FUNCTION.to_owned();
    let mut sizes = String::new();
    let mut jobs = 0;
    let trees = wanted
        .sources
        .iter()
        .enumerate()
        .filter(|(_, source)| !source.paths.is_empty());
    for (number, source) in trees {
        let mut paths = "set --\n".to_owned();
        let mut alive = String::from("true");
        for path in &source.paths {
            paths.push_str(&shell_assign("p", path));
            paths.push_str("set -- \"$@\" \"$p\"\n");
            let index = wanted.index(path).map_or(0, |index| index + 1);
            write!(alive, " && is_alive {index}").expect("writing to a String never fails");
        }
        writeln!(text, "{paths}if {alive}; then readable {number} \"$@\"; fi")
            .expect("writing to a String never fails");
        let options = if source.one_file_system {
            "-skx"
        } else {
            "-sk"
        };
        let tell = if source.is_volume { "volume" } else { "size" };
        writeln!(
            sizes,
            "{paths}( if {alive}; then {tell} {number} {options} \"$@\"; else echo {number}; fi ) &"
        )
        .expect("writing to a String never fails");
        jobs += 1;
    }
    if let (Some(seconds), 1..) = (estimate_seconds, jobs) {
        writeln!(
            text,
            "limit={seconds}\nif [ -n \"$within\" ]; then within=\"timeout $limit\"; fi\n\
             out sizes \"$( (\nquietly\n{sizes}( sleep \"$limit\"; echo late ) &\n) | collect {jobs} )\""
        )
        .expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(records: &Records<'_>, wanted: &[WantedSource]) -> BTreeMap<Name, SourceFacts> {
    let sizes = sizes(&String::from_utf8_lossy(
        records.get("sizes").unwrap_or_default(),
    ));
    let facts = |(number, source): (usize, &WantedSource)| {
        let facts = SourceFacts {
            bytes: sizes.get(&number).copied(),
            readable: records
                .text(&format!("src.{number}.readable"))
                .map(|word| word == "yes"),
        };
        (source.name.clone(), facts)
    };
    wanted.iter().enumerate().map(facts).collect()
}

/// Reads lines `number kibibytes`; a line without a size says that there is none.
fn sizes(lines: &str) -> BTreeMap<usize, ByteSize> {
    let one = |line: &str| {
        let (number, kibibytes) = line.trim().split_once(' ')?;
        let kibibytes: u64 = kibibytes.parse().ok()?;
        Some((
            number.parse().ok()?,
            ByteSize(kibibytes.saturating_mul(1024)),
        ))
    };
    lines.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_were_not_told_stay_unknown() {
        let told = sizes("1 2048\n0\n3 \n4 x\n2 0\n");
        assert_eq!(
            told,
            BTreeMap::from([(1, ByteSize(2 << 20)), (2, ByteSize(0))])
        );
    }
}

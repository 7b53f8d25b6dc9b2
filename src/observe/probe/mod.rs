//! One read-only script a node: each section writes its part and reads its answer.
//!
//! A section is a file with `command(…)`, which writes `sh`, and `parse(…)`, which is
//! pure. The scripts keep to what dash, busybox ash and bash share.

mod acls;
mod addresses;
mod alive;
mod clock;
mod containers;
mod datastores;
mod discovery;
mod disks;
mod exports;
mod files;
mod fstab;
mod host;
mod login;
mod lvm;
mod mounts;
mod paths;
mod pve;
mod routes;
mod sources;
mod state;
mod tools;
mod units;
mod users;
mod versions;
mod zfs;

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::records::{Malformed, Records};
use super::wanted::{Folder, Wanted};
use crate::model::Timestamp;
use crate::model::observed::NodeFacts;
use crate::transport::Script;

/// The most a node may answer.
const ANSWER_MAX: usize = 16 << 20;

/// How long parts of a probe may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// The whole script.
    pub(super) whole: Duration,
    /// Touching a path, and looking through a datastore's entries.
    pub(super) path: Duration,
    /// Estimating the sizes of sources, if that is wanted at all.
    pub(super) estimate: Option<Duration>,
}

impl Limits {
    fn seconds(duration: Duration) -> u64 {
        duration.as_secs().max(1)
    }
}

/// What every section may use.
///
/// A program takes a node a millisecond to start, and twenty nodes may be one machine's
/// guests: what the shell can do itself it does, and programs are asked once for all they
/// know. So `id` is read here, unless its owner is not whom it acts as.
///
/// `out KEY VALUE` writes a record; its length counts bytes, as the locale is C.
/// `show KEY FILE MAX` writes the first bytes of a file. `collect N` passes on N lines,
/// or those before the line `late`: with jobs in the background that each write one, and
/// a sleeper that writes `late`, nothing waits longer than the sleeper. What is left behind
/// must not hold the script's own output open, or whoever reads it waits too: `quietly` lets
/// go of it for good, where a redirection of a group would keep it under another number.
const PRELUDE: &str = r#"
umask 077
nl='
'
out() { printf '%s %d\n%s\n' "$1" "${#2}" "$2"; }
show() { if [ -f "$2" ] && [ -r "$2" ]; then out "$1" "$(head -c "$3" "$2" 2>/dev/null)"; fi; }
quietly() { exec </dev/null 2>/dev/null; }
collect() {
    n=0
    while IFS= read -r l; do
        [ "$l" = late ] && break
        printf '%s\n' "$l"
        n=$((n + 1))
        [ "$n" -ge "$1" ] && break
    done
}
me=$(id)
uid=${me#uid=}; uid=${uid%%[!0-9]*}
gid=${me#*gid=}; gid=${gid%%[!0-9]*}
case $me in uid=*euid=*|uid=*egid=*) uid= ;; uid=*gid=*) ;; *) uid= ;; esac
if [ -z "$uid" ] || [ -z "$gid" ]; then uid=$(id -u); gid=$(id -g); fi
"#;

/// Begins a script that looks at one thing in our folder, which it finds in `$folder`.
pub(super) fn in_folder(folder: &Folder) -> String {
    format!("{PRELUDE}{}", state::folder_command(Some(folder)))
}

/// Writes the probe for a node.
pub(super) fn script(wanted: &Wanted, limits: Limits) -> Script {
    let mut text = PRELUDE.to_owned();
    text.push_str(host::COMMAND);
    text.push_str(&login::command(wanted.sudo));
    text.push_str(&users::command(&wanted.users));
    text.push_str(&tools::command(&wanted.tools));
    text.push_str(mounts::COMMAND);
    text.push_str(&state::folder_command(wanted.folder.as_ref()));
    text.push_str(&alive::command(&wanted.paths, Limits::seconds(limits.path)));
    text.push_str(acls::FUNCTION);
    text.push_str(&paths::command(wanted));
    text.push_str(acls::COMMAND);
    text.push_str(state::COMMAND);
    let within = Limits::seconds(limits.path);
    text.push_str(&datastores::command(wanted, PRELUDE, within));
    text.push_str(versions::COMMAND);
    if wanted.addresses {
        text.push_str(addresses::COMMAND);
        text.push_str(fstab::COMMAND);
    }
    if wanted.exports {
        text.push_str(exports::COMMAND);
    }
    text.push_str(&files::command(&wanted.files));
    text.push_str(&units::command(&wanted.files));
    text.push_str(&routes::command(&wanted.routes));
    text.push_str(&disks::command(&wanted.disks));
    text.push_str(&containers::command(&wanted.containers));
    if wanted.storage {
        text.push_str(lvm::COMMAND);
        text.push_str(zfs::COMMAND);
        text.push_str(pve::COMMAND);
    }
    if wanted.discovery {
        text.push_str(discovery::COMMAND);
    }
    text.push_str(&sources::command(
        wanted,
        limits.estimate.map(Limits::seconds),
    ));
    text.push_str(clock::COMMAND);
    Script::new(text)
        .purpose("look at the node")
        .privileged(wanted.sudo)
        .deadline(limits.whole)
        .output_max(ANSWER_MAX)
}

/// Reads the answer; `after` is our own clock when it arrived.
pub(super) fn parse(
    answer: &[u8],
    wanted: &Wanted,
    via: String,
    after: Timestamp,
) -> Result<NodeFacts, Malformed> {
    let records = Records::read(answer)?;
    let records = &records;
    // The clock is written last, so an answer without it was not made by the whole script.
    let (clock, skew_ms) = clock::parse(records, after).ok_or(Malformed(answer.len()))?;
    let mounts = mounts::parse(records);
    let host = host::parse(records);
    let mut paths = paths::parse(records, &wanted.paths, &mounts);
    let (state, folder) = state::parse(records, &mounts);
    paths.extend(folder);
    acls::put(records, &mut paths);
    Ok(NodeFacts {
        via,
        hostname: host.hostname,
        machine_id: host.machine_id,
        os: host.os,
        versions: versions::parse(records),
        arch: host.arch,
        clock,
        skew_ms,
        login: login::parse(records),
        users: users::parse(records, &wanted.users),
        tools: tools::parse(records, &wanted.tools),
        paths,
        state,
        datastores: datastores::parse(records, &wanted.datastores),
        sources: sources::parse(records, &wanted.sources),
        addresses: addresses::parse(records),
        nfs: exports::parse(records),
        fstab: fstab::parse(records),
        files: files::parse(records, &wanted.files),
        units: units::parse(records, &wanted.files),
        routes: routes::parse(records, &wanted.routes),
        disks: disks::parse(records, &wanted.disks),
        containers: containers::parse(records, &wanted.containers),
        id_grants: containers::grants(records),
        lvm: lvm::parse(records),
        zfs: zfs::parse(records),
        pve: pve::parse(records, &mounts),
        discovered: discovery::parse(records, &mounts),
    })
}

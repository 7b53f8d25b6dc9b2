//! A look around: filesystems with room, repositories near their tops, other backup tools.

use crate::model::discovered::{Discovered, Filesystem, FoundFolder};
use crate::model::mounts::Mounts;
use crate::observe::records::{Records, text};

use super::paths;

/// Tops of filesystems and exported folders are touched like all paths: at once, and given up on
/// after a while. Repositories are sought only where something answered, near its top, and on no
/// other filesystem below.
pub(super) const COMMAND: &str = r#"
discover_tops() {
    sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - \(ext[234]\|xfs\|btrfs\|zfs\|bcachefs\|f2fs\|jfs\|nfs\|nfs4\) .*/\1/p' /proc/self/mountinfo 2>/dev/null | sort -u | head -n 64
}
discover_exports() { printf '%s\n' "$x" | sed -n 's/^\(\/[^[:blank:]]*\).*/\1/p' | sort -u | head -n 64; }
discover_folder() {
    [ -d "$1" ] || return
    a=$(stat -L -c '%u %g %a' "$1" 2>/dev/null) || return
    out "found.folder" "$a$nl$1"
    if [ -f "$1/bkpctl.json" ]; then
        show "found.marker" "$1/bkpctl.json" 65536
        show "found.managed" "$1/managed.json" 65536
    fi
}
discover_tools() {
    for t in restic borg borgmatic kopia proxmox-backup-client proxmox-backup-manager rsnapshot btrbk sanoid duplicity; do
        command -v "$t" >/dev/null 2>&1 && printf '%s\n' "$t"
    done
    for t in /etc/systemd/system/*.timer /usr/lib/systemd/system/*.timer /etc/cron.d/* /etc/cron.daily/*; do
        [ -e "$t" ] || continue
        case ${t##*/} in
            *@.timer|dpkg*|.*) ;;
            *restic*|*borg*|*kopia*|*proxmox-backup*|*rsnapshot*|*btrbk*|*sanoid*|*duplicity*|*backup*|*vzdump*) printf '%s\n' "$t" ;;
        esac
    done
}
discover() {
    set --
    tops=$(discover_tops)
    while IFS= read -r p; do [ -n "$p" ] && set -- "$@" "$(printf '%b' "$p")"; done <<LIST
$(printf '%s\n' "$tops" | sed 's/\\/\\0/g')
LIST
    count=$#
    while IFS= read -r p; do [ -n "$p" ] && set -- "$@" "$(printf '%b' "$p")"; done <<LIST
$(discover_exports | sed 's/\\/\\0/g')
LIST
    set -- "$@" /srv /mnt /media /backup /var/backups
    others=$touched
    touched="$nl$(touch_all "$@")$nl"
    i=0 around=
    for p in "$@"; do
        if is_alive $i; then
            space_of $i
            [ $i -lt "$count" ] && out "found.top" "$s$nl$p"
            [ $i -lt "$count" ] || discover_folder "$p"
            around=$around$($within find "$p" -xdev -maxdepth 3 -name bkpctl.json -type f 2>/dev/null | head -n 64)$nl
        fi
        i=$((i + 1))
    done
    touched=$others
    while IFS= read -r p; do case $p in /*/bkpctl.json) discover_folder "${p%/bkpctl.json}" ;; esac; done <<LIST
$(printf '%s' "$around" | sort -u | head -n 256)
LIST
    out found.tools "$(discover_tools | head -n 64)"
}
discover
"#;

/// The most of each kind that is kept.
const THINGS_MAX: usize = 512;

/// Returns what was found; none where nobody looked around.
pub(super) fn parse(records: &Records<'_>, mounts: &Mounts) -> Option<Discovered> {
    let tools = String::from_utf8_lossy(records.get("found.tools")?);
    let mut found = Discovered {
        tools: tools
            .lines()
            .map(|line| text(line.as_bytes()))
            .take(THINGS_MAX)
            .collect(),
        ..Discovered::default()
    };
    for (key, value) in records.below("found") {
        match key {
            "top" if found.filesystems.len() < THINGS_MAX => {
                found.filesystems.extend(top(value, mounts));
            }
            "folder" if found.folders.len() < THINGS_MAX => found.folders.extend(folder(value)),
            // They follow the folder they are in.
            "marker" => {
                if let Some(folder) = found.folders.last_mut() {
                    folder.marker = serde_json::from_slice(value).ok();
                }
            }
            "managed" => {
                if let Some(folder) = found.folders.last_mut() {
                    folder.managed = serde_json::from_slice(value).ok();
                }
            }
            _ => {}
        }
    }
    // An exported folder may be found again as that of a repository.
    found
        .folders
        .sort_by(|a, b| (&a.path, a.marker.is_none()).cmp(&(&b.path, b.marker.is_none())));
    found
        .folders
        .dedup_by(|later, first| later.path == first.path);
    Some(found)
}

fn top(value: &[u8], mounts: &Mounts) -> Option<Filesystem> {
    let value = String::from_utf8_lossy(value);
    let (space, path) = value.split_once('\n')?;
    Some(Filesystem {
        mount: mounts
            .covering(path)
            .filter(|mount| mount.target == path)?
            .clone(),
        space: paths::space(space),
    })
}

fn folder(value: &[u8]) -> Option<FoundFolder> {
    let value = String::from_utf8_lossy(value);
    let (stat, path) = value.split_once('\n')?;
    let mut fields = stat.split(' ');
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(FoundFolder {
        path: text(path.as_bytes()),
        uid,
        gid,
        mode: u32::from_str_radix(fields.next()?, 8).ok()?,
        ..FoundFolder::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(parts: &[(&str, &str)]) -> Option<Discovered> {
        let mounts = Mounts::read(b"30 1 8:1 / /srv rw - ext4 /dev/sda1 rw\n");
        let framed = |(key, value): &(&str, &str)| format!("{key} {}\n{value}\n", value.len());
        let answer = parts.iter().map(framed).collect::<Vec<String>>().concat();
        parse(
            &Records::read(answer.as_bytes()).expect("well-formed"),
            &mounts,
        )
    }

    #[test]
    fn folders_are_read_with_their_owners_and_markers_each_once() {
        let marker = r#"{"format":1,"repository":"r","home":"m","domain":"d"}"#;
        let found = read(&[
            ("found.top", "4096 100 50 10 5\n/srv"),
            ("found.top", "4096 100 50 10 5\n/gone"),
            ("found.folder", "34 34 750\n/srv/b"),
            ("found.folder", "0 0 1755\n/srv/a"),
            ("found.folder", "34 34 750\n/srv/b"),
            ("found.marker", marker),
            ("found.tools", "restic\n/etc/cron.d/borg"),
        ])
        .expect("somebody looked around");
        assert_eq!(found.tools, ["restic", "/etc/cron.d/borg"]);
        assert_eq!(found.filesystems.len(), 1);
        let folders: Vec<_> = found
            .folders
            .iter()
            .map(|folder| {
                (
                    folder.path.as_str(),
                    folder.uid,
                    folder.mode,
                    folder.marker.is_some(),
                )
            })
            .collect();
        assert_eq!(
            folders,
            [("/srv/a", 0, 0o1755, false), ("/srv/b", 34, 0o750, true)]
        );
        assert_eq!(read(&[("mounts", "")]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            for key in ["found.top", "found.folder", "found.marker", "found.managed"] {
                let _ = read(&[("found.folder", "1 1 1\n/a"), (key, &text), ("found.tools", &text)]);
            }
        }
    }
}

//! Our own folder on the node.

use super::paths;
use crate::model::mounts::Mounts;
use crate::model::observed::{PathFacts, StateFacts};
use crate::observe::records::Records;
use crate::observe::wanted::Folder;
use crate::transport::shell_assign;

/// Decides where our folder is: root's is in `/var/lib`, a user's in its state folder.
pub(super) fn folder_command(folder: Option<&Folder>) -> String {
    let Some(folder) = folder else {
        return "folder=\n".to_owned();
    };
    let mut text = shell_assign("topology", folder.topology.as_str());
    text.push_str(&shell_assign("node", folder.node.as_str()));
    match &folder.base {
        Some(base) => text.push_str(&shell_assign("base", base)),
        None => text.push_str(
            r#"if [ "$uid" = 0 ]; then
    base=/var/lib/bkpctl
else
    case $XDG_STATE_HOME in /*) base=$XDG_STATE_HOME/bkpctl ;; *) base=$HOME/.local/state/bkpctl ;; esac
fi
"#,
        ),
    }
    text.push_str("folder=${base%/}/$topology/$node\nout state.folder \"$folder\"\n");
    text
}

pub(super) const COMMAND: &str = r#"
if [ -n "$folder" ] && is_alive 0; then
    show state.registry "$folder/registry.json" 1048576
    for f in "$folder"/bin/bkpctl-*; do
        if [ -f "$f" ] && [ -x "$f" ]; then out state.binary "${f##*/bkpctl-}"; fi
    done
fi
"#;

/// The most binaries that are listed.
const BINARIES_MAX: usize = 100;

/// Reads what was seen of the folder, and of it as a path.
pub(super) fn parse(
    records: &Records<'_>,
    mounts: &Mounts,
) -> (StateFacts, Option<(String, PathFacts)>) {
    let Some(folder) = records.text("state.folder") else {
        return (StateFacts::default(), None);
    };
    let is_hash =
        |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let below = records.below("state").filter(|(key, _)| *key == "binary");
    let binaries = below
        .map(|(_, name)| String::from_utf8_lossy(name).into_owned())
        .filter(is_hash);
    let facts = StateFacts {
        folder: folder.clone(),
        binaries: binaries.take(BINARIES_MAX).collect(),
        // A registry that can't be read counts as none, and is written anew.
        registry: records
            .get("state.registry")
            .and_then(|bytes| serde_json::from_slice(bytes).ok()),
    };
    let path = paths::one(records, 0, &folder, mounts);
    (facts, path.map(|path| (folder, path)))
}

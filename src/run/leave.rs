//! Takes everything of bkpctl's off a node; datastores and what is in them stay.

use std::sync::Arc;

use super::message::{Fault, FaultKind};
use crate::model::Name;
use crate::transport::{Script, Transport, shell_assign};

/// How the script ends where another process holds the node's lock.
const LOCKED: i32 = 75;

/// Removes `$folder` unless somebody works with it, and the folders above it that are ours and
/// empty then: a base of another name was somebody's choice and stays. The lock is held while that
/// happens, where there is a program that can.
const SCRIPT: &str = r#"
[ -d "$folder" ] || { echo nothing; exit 0; }
if command -v flock >/dev/null 2>&1 && [ -f "$folder/lock" ]; then
    exec 9<"$folder/lock"
    flock -n 9 || { head -c 400 "$folder/lock"; exit 75; }
fi
rm -rf "$folder" || exit 1
rmdir "${folder%/*}" 2>/dev/null
base=${folder%/*/*}
case ${base##*/} in bkpctl) rmdir "$base" 2>/dev/null ;; esac
echo removed
"#;

/// Removes our folder on a node; tells whether there was one.
///
/// `folder` is what the node said, so it has to end as we would have named it.
pub fn leave(
    transport: &Arc<dyn Transport>,
    topology: &Name,
    node: &Name,
    folder: &str,
    privileged: bool,
) -> Result<bool, Fault> {
    if !is_ours(folder, topology, node) {
        return Err(Fault::refused(format!(
            "{node} says that bkpctl's folder there is {folder:?}, which is no name that bkpctl gives; nothing was removed"
        )));
    }
    let script = Script::new(format!("{}{SCRIPT}", shell_assign("folder", folder)))
        .purpose("remove bkpctl's folder")
        .privileged(privileged);
    let output = transport
        .run(&script)
        .map_err(|error| Fault::refused(format!("failed to {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status {
        0 => Ok(said.trim() == "removed"),
        LOCKED => Err(Fault {
            kind: FaultKind::Locked,
            message: format!(
                "another process works on {node} ({}); nothing was removed",
                said.trim().escape_debug()
            ),
        }),
        _ => Err(Fault::refused(format!(
            "{folder} on {node} can't be removed: {}",
            output.complaint()
        ))),
    }
}

/// Tells whether a folder is named as ours are: `BASE/TOPOLOGY/NODE`, absolute and plain.
fn is_ours(folder: &str, topology: &Name, node: &Name) -> bool {
    let mut parts = folder.split('/');
    let is_plain =
        parts.next() == Some("") && parts.clone().all(|part| !matches!(part, "" | "." | ".."));
    let ours = [topology.as_str(), node.as_str()];
    let parts: Vec<&str> = parts.collect();
    // Something must be above: a folder right below the root is nobody's choice.
    is_plain && parts.len() > ours.len() && parts.ends_with(&ours)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::transport::Local;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn only_a_folder_that_is_named_as_ours_is_removed() {
        for (folder, expected) in [
            ("/var/lib/bkpctl/lab/web", true),
            ("/x/lab/web", true),
            ("/lab/web", false),
            ("/var/lib/bkpctl/lab", false),
            ("/var/lib/bkpctl/lab/web/", false),
            ("/var/lib/bkpctl/lab/nas", false),
            ("/var/../lab/web", false),
            ("/var//lab/web", false),
            ("var/lib/lab/web", false),
            ("", false),
            ("/", false),
        ] {
            assert_eq!(
                is_ours(folder, &name("lab"), &name("web")),
                expected,
                "{folder}"
            );
        }
    }

    #[test]
    fn our_folder_goes_and_what_is_beside_it_stays() {
        let top = tempfile::tempdir().expect("a temporary folder");
        let base = top.path().join("bkpctl");
        let folder = base.join("lab/web");
        let text = folder.to_str().expect("utf-8");
        let transport: Arc<dyn Transport> = Arc::new(Local::new());
        let go = || leave(&transport, &name("lab"), &name("web"), text, false);
        assert_eq!(go(), Ok(false), "there is nothing");

        fs::create_dir_all(folder.join("bin")).expect("made");
        fs::create_dir_all(base.join("lab/nas")).expect("made");
        fs::write(folder.join("lock"), "somebody\n").expect("written");
        let held = fs::File::open(folder.join("lock")).expect("opened");
        rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .expect("free");
        let refused = go().expect_err("it is held");
        assert_eq!(refused.kind, FaultKind::Locked);
        assert!(refused.message.contains("somebody"), "{}", refused.message);
        assert!(folder.join("bin").exists());

        drop(held);
        assert_eq!(go(), Ok(true));
        assert!(!folder.exists() && base.join("lab/nas").exists());
        fs::remove_dir(base.join("lab/nas")).expect("empty");
        fs::create_dir_all(&folder).expect("made");
        assert_eq!(go(), Ok(true));
        assert!(!base.exists(), "what is empty goes, too");

        let chosen = top.path().join("chosen/lab/web");
        fs::create_dir_all(&chosen).expect("made");
        let text = chosen.to_str().expect("utf-8");
        let left = leave(&transport, &name("lab"), &name("web"), text, false);
        assert_eq!(left, Ok(true));
        let chosen = top.path().join("chosen");
        assert!(chosen.exists() && !chosen.join("lab").exists());
    }
}

//! A real filesystem of a fixed size, on a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::skip;

/// Held by whoever has a filesystem mounted: a test that looks around on the machine would find
/// the repositories of another one's too.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A mounted ext4 filesystem; unmounted when dropped, and the only one of all tests until then.
pub(crate) struct LoopMount {
    path: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

impl LoopMount {
    /// Makes and mounts a filesystem of so many mebibytes at `folder/NAME`.
    ///
    /// Where that can't be done here, the reason is printed and there is none.
    pub(crate) fn new(folder: &Path, name: &str, mebibytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root may mount a filesystem");
            return None;
        }
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let image = folder.join(format!("{name}.img"));
        let path = folder.join(name);
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        std::fs::create_dir(&path).expect("a folder");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(mebibytes << 20).expect("a size");
        let made = run("mkfs.ext4", &["-q", "-m", "0", &text(&image)])
            .and_then(|()| run("mount", &["-o", "loop", &text(&image), &text(&path)]));
        if let Err(reason) = made {
            skip(&format!(
                "no filesystem could be made and mounted here: {reason}"
            ));
            return None;
        }
        Some(Self {
            path,
            _alone: alone,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn remount(&self, options: &str) {
        let path = self.path.to_str().expect("a plain path");
        run("mount", &["-o", &format!("remount,{options}"), path]).expect("it is mounted anew");
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        drop(run("umount", &[self.path.to_str().unwrap_or_default()]));
    }
}

//! The machine and the process that bkpctl runs in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine::disk::{Disk, RealDisk};
use crate::engine::env::Env;
use crate::engine::store::{Dir, DirOptions, Store};
use crate::model::observed::Binary;
use crate::model::topology::Owner;
use crate::model::{Amount, ByteSize, Timestamp};
use crate::run::message::Fault;
use crate::run::reserve::Reserved;

/// The ELF machine numbers of the architectures that bkpctl is built for, with the names
/// that `uname -m` gives them. Source: the ELF header's `e_machine`, elf(5).
const ELF_MACHINES: [(u16, &str); 4] = [
    (0x3e, "x86_64"),
    (0xb7, "aarch64"),
    (0x28, "armv7l"),
    (0xf3, "riscv64"),
];

/// Returns the time of this machine's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }))
}

/// Returns the numeric user that this process acts as.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns whether what this process makes belongs to that owner.
pub fn is_us(owner: &Owner) -> bool {
    let group = rustix::process::getegid().as_raw();
    // Root could make files of any group, so its own must be the right one.
    owner.uid == effective_uid() && (owner.uid != 0 || owner.gid == group)
}

/// Returns this machine's identity, or its host name where it has none.
///
/// The probe of a node asks for the same two in the same order.
pub fn machine_id() -> String {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let id = read("/etc/machine-id");
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return id;
    }
    read("/proc/sys/kernel/hostname")
}

/// Returns how many threads work, where `BKPCTL_THREADS` says so.
///
/// Tests that count system calls need calls that come in the same order at every run.
pub fn threads() -> Option<usize> {
    std::env::var("BKPCTL_THREADS").ok()?.parse().ok()
}

/// Says who we are, for whoever finds our lock.
pub fn holder() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("bkpctl process {} on {}", std::process::id(), host.trim())
}

/// Replaces a leading `~` by the home of whoever runs.
pub fn expand_home(path: &str) -> Result<PathBuf, Fault> {
    let Some(rest) = path.strip_prefix('~') else {
        return Ok(PathBuf::from(path));
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(Fault::refused(format!(
            "{path}: only ~ and ~/… are understood, not the home of somebody else"
        )));
    }
    let home = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .ok_or_else(|| {
            Fault::refused(format!(
                "{path} starts in the home folder, but HOME is not set"
            ))
        })?;
    Ok(PathBuf::from(home).join(rest.trim_start_matches('/')))
}

/// Returns where whoever runs keeps what can be removed at any time, if anywhere.
pub fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let ours = |folder: PathBuf| folder.join("bkpctl");
    if let Some(folder) = absolute("XDG_CACHE_HOME") {
        return Some(ours(folder));
    }
    if effective_uid() == 0 {
        return Some(ours(PathBuf::from("/var/cache")));
    }
    absolute("HOME").map(|home| ours(home.join(".cache")))
}

/// Returns standard input and output as plain files, without the buffers of the library.
pub fn standard_streams() -> Result<(fs::File, fs::File), Fault> {
    let failed = |e: rustix::io::Errno| Fault::io("use standard input and output", &e.into());
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(failed)?;
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).map_err(failed)?;
    Ok((fs::File::from(input), fs::File::from(output)))
}

/// Returns the path of the running binary.
pub fn own_path() -> Result<String, Fault> {
    let path = std::env::current_exe().map_err(|e| Fault::io("find the running binary", &e))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| Fault::refused(format!("{} is no UTF-8 path", path.to_string_lossy())))
}

/// Reads the binary that is placed on nodes: the given one, or the running one.
pub fn read_binary(other: Option<&Path>) -> Result<Vec<u8>, Fault> {
    let path = other.unwrap_or(Path::new("/proc/self/exe"));
    fs::read(path).map_err(|e| Fault::io(&format!("read the binary {}", path.display()), &e))
}

/// Opens the repository in a folder of this machine, in this process.
pub fn open_directory(path: &str, reserve: Option<Amount>) -> Result<Arc<dyn Store>, Fault> {
    let dir = Dir::open(disk(), Env::system(), &options(path)).map_err(|e| Fault::store(&e))?;
    Ok(reserved(dir, path, reserve))
}

/// Makes the folders of a new repository on this machine, in this process.
pub fn create_directory(path: &str, reserve: Option<Amount>) -> Result<Arc<dyn Store>, Fault> {
    let dir = Dir::create(disk(), Env::system(), &options(path)).map_err(|e| Fault::store(&e))?;
    Ok(reserved(dir, path, reserve))
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk::default())
}

fn options(path: &str) -> DirOptions {
    DirOptions {
        root: PathBuf::from(path),
        machine: machine_id(),
    }
}

fn reserved(dir: Dir, path: &str, reserve: Option<Amount>) -> Arc<dyn Store> {
    match reserve {
        None => Arc::new(dir),
        Some(reserve) => Arc::new(Reserved::new(dir, PathBuf::from(path), reserve)),
    }
}

/// Describes the binary that is placed on nodes, and refuses one that is not static.
pub fn binary(other: Option<&Path>) -> Result<Binary, Fault> {
    static RUNNING: OnceLock<Result<Binary, Fault>> = OnceLock::new();
    match other {
        None => RUNNING
            .get_or_init(|| describe(&read_binary(None)?, "the running binary"))
            .clone(),
        Some(path) => describe(&read_binary(other)?, &path.display().to_string()),
    }
}

fn describe(bytes: &[u8], what: &str) -> Result<Binary, Fault> {
    let arch = elf_machine(bytes).ok_or_else(|| {
        Fault::refused(format!(
            "{what} is no 64-bit Linux program that nodes could run"
        ))
    })?;
    if has_interpreter(bytes) {
        return Err(Fault::refused(format!(
            "{what} is not static, so it may not run on nodes; build it with `cargo build --release` in this project, which makes a static one"
        )));
    }
    Ok(Binary {
        hash: blake3::hash(bytes).to_hex().to_string(),
        arch: arch.to_owned(),
        size: ByteSize(bytes.len() as u64),
    })
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(offset..offset + 2)?.try_into().ok()?,
    ))
}

/// Returns the architecture of a 64-bit little-endian ELF file as `uname -m` names it.
fn elf_machine(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let machine = u16_at(bytes, 18)?;
    ELF_MACHINES
        .iter()
        .find(|(number, _)| *number == machine)
        .map(|(_, name)| *name)
}

/// Returns whether an ELF file asks for a dynamic loader (a program header of type 3).
fn has_interpreter(bytes: &[u8]) -> bool {
    let headers = || -> Option<bool> {
        let start = u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?) as usize;
        let (size, count) = (
            usize::from(u16_at(bytes, 54)?),
            usize::from(u16_at(bytes, 56)?),
        );
        let kind = |index: usize| {
            let at = start.checked_add(index.checked_mul(size)?)?;
            Some(u32::from_le_bytes(
                bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
            ))
        };
        Some((0..count).any(|index| kind(index) == Some(3)))
    };
    // A file whose headers can't be read is not one that we would push.
    headers().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_test_is_a_static_binary_of_this_machine() {
        let binary = binary(None).expect("a static binary");
        assert_eq!(binary.arch, std::env::consts::ARCH);
        assert_eq!(binary.hash.len(), 64);
    }

    #[test]
    fn what_is_no_program_or_not_static_is_refused() {
        assert!(describe(b"#!/bin/sh\n", "x").is_err());
        let mut dynamic = vec![0; 64 + 56];
        dynamic[..6].copy_from_slice(b"\x7fELF\x02\x01");
        dynamic[18] = 0x3e;
        dynamic[32] = 64;
        dynamic[54] = 56;
        dynamic[56] = 1;
        assert!(describe(&dynamic, "x").is_ok());
        dynamic[64] = 3;
        let error = describe(&dynamic, "x").expect_err("it asks for a loader");
        assert!(error.message.contains("not static"));
    }

    #[test]
    fn only_our_own_home_is_expanded() {
        assert_eq!(expand_home("/a/~b"), Ok(PathBuf::from("/a/~b")));
        assert!(expand_home("~other/x").is_err());
    }
}

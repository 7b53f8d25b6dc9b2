//! `bkpctl bootstrap`: print what gives a node's logins the least rights that bkpctl needs.
//!
//! It reaches nothing and changes nothing. A person reads what it prints and runs it.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use self::lines::{PublicKey, Subject};
use crate::cli::args;
use crate::cli::context::{Context, connect};
use crate::cli::documents;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::cli::render::render_bootstrap;
use crate::model::topology::{Reach, SshReach};
use crate::model::{ByteSize, Name, Topology};
use crate::run::fleet::{self, Connect};
use crate::run::here;
use crate::transport::{self, Destination};

mod lines;

/// The format of the document that this version prints.
const FORMAT: u32 = 1;

/// What a person does to let bkpctl look at a node, and to let it change the node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Bootstrap {
    /// The version of this form.
    pub format: u32,
    /// The node.
    pub node: Name,
    /// The login that looks.
    pub login: String,
    /// The program that a key which may only look is bound to.
    pub program: Program,
    /// The line for `authorized_keys`, if a key was named.
    pub authorized_key: Option<String>,
    /// The line for sudoers by which a look sees what only root sees, if there is sudo.
    pub look_sudoers: Option<String>,
    /// The line for sudoers that an apply needs, if there is sudo; it gives all of root's rights.
    pub apply_sudoers: Option<String>,
    /// Commands to run here.
    pub here: Vec<String>,
    /// Commands to run on the node, as root, for a key that may only look.
    pub there: Vec<String>,
    /// Commands to run on the node, as root, for the login that applies.
    pub there_for_apply: Vec<String>,
}

/// The program that looks, as it is to be on the node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Program {
    /// Where it goes.
    pub path: String,
    /// Where it is here.
    pub from: String,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// The architecture it is for, as `uname -m` says it.
    pub arch: String,
    /// Its size.
    pub size: ByteSize,
}

/// Works out the lines and prints them.
pub fn run(context: &Context, args: &args::Bootstrap) -> Outcome {
    let topology = load(context, &args.nodes.place.topology)?;
    let (name, ssh) = over_ssh(&topology, &args.node)?;
    let connect = connect(&args.nodes.reach);
    let home = destination(&topology, name, ssh, &connect)?;
    let login = args.user.clone().unwrap_or_else(|| home.user.clone());
    for user in [&home.user, &login] {
        plain_user(user)?;
    }
    plain_path(&args.at)?;
    let key = args.key.as_deref().map(read_key).transpose()?;
    let subject = Subject {
        node: name,
        login: &login,
        copier: &home,
        hops: &hops(&topology, ssh, &connect)?,
        inner: &reached_through(&topology, name, &connect)?,
        sudo: ssh.sudo,
        program: program(&args.at, args.nodes.reach.agent_binary.as_deref())?,
        key: key.as_ref(),
    };
    let bootstrap = subject.bootstrap(FORMAT);
    if args.json {
        context.print_json(&bootstrap)?;
    } else {
        context.print(&render_bootstrap(&bootstrap));
    }
    Ok(Exit::Ok)
}

fn over_ssh<'t>(topology: &'t Topology, node: &str) -> Result<(&'t Name, &'t SshReach), Failure> {
    match topology.nodes.get_key_value(node) {
        Some((name, found)) => match &found.reach {
            Reach::Ssh(ssh) => Ok((name, ssh)),
            Reach::Local => Err(Failure::new(format!(
                "node {name} is this machine: whoever runs bkpctl has the rights already"
            ))),
        },
        None => Err(Failure::unknown("node", node, topology.nodes.keys())),
    }
}

/// Says where a node is, as the topology and the SSH configuration have it.
fn destination(
    topology: &Topology,
    node: &Name,
    ssh: &SshReach,
    connect: &Connect,
) -> Result<Destination, Failure> {
    let failed = |error| Failure::new(format!("failed to {error}"));
    let target = fleet::ssh_target(topology, node, ssh, connect).map_err(failed)?;
    transport::destination(&target).map_err(failed)
}

/// Returns the machines to go through, the nearest first.
fn hops(
    topology: &Topology,
    ssh: &SshReach,
    connect: &Connect,
) -> Result<Vec<Destination>, Failure> {
    let mut hops = Vec::new();
    let mut next = ssh.jump.as_ref();
    while let Some(jump) = next {
        let (name, through) = over_ssh(topology, jump)?;
        hops.insert(0, destination(topology, name, through, connect)?);
        next = through.jump.as_ref();
    }
    Ok(hops)
}

/// Returns the nodes that are reached through this one.
fn reached_through(
    topology: &Topology,
    node: &Name,
    connect: &Connect,
) -> Result<Vec<Destination>, Failure> {
    let mut inner = Vec::new();
    for (name, other) in &topology.nodes {
        if let Reach::Ssh(ssh) = &other.reach
            && ssh.jump.as_ref() == Some(node)
        {
            inner.push(destination(topology, name, ssh, connect)?);
        }
    }
    Ok(inner)
}

fn program(path: &str, other: Option<&Path>) -> Result<Program, Failure> {
    let failed = |fault: crate::run::message::Fault| Failure::new(fault.message);
    let binary = here::binary(other).map_err(failed)?;
    let bytes = here::read_binary(other).map_err(failed)?;
    let from = match other {
        Some(path) => path.display().to_string(),
        None => here::own_path().map_err(failed)?,
    };
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    Ok(Program {
        path: path.to_owned(),
        from,
        sha256: crate::engine::hex::encode(digest.as_ref()),
        arch: binary.arch,
        size: binary.size,
    })
}

fn read_key(file: &Path) -> Result<PublicKey, Failure> {
    let text = String::from_utf8_lossy(&documents::read(file)?).into_owned();
    PublicKey::read(&text).map_err(|why| {
        documents::unreadable(file, why).help("name the file that ssh-keygen wrote with .pub")
    })
}

/// Refuses names of users that mean more than a name in sudoers or in a shell.
fn plain_user(user: &str) -> Result<(), Failure> {
    let plain = user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && user.len() <= 64
        && user
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if plain {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the login {user:?} can't be written into sudoers as it is"
    ))
    .help("name another one with --user"))
}

/// Refuses paths that mean more than a path in sudoers or in authorized_keys.
fn plain_path(path: &str) -> Result<(), Failure> {
    let plain = path.starts_with('/')
        && !path.ends_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        && !path.split('/').any(|part| part == ".." || part == ".");
    if plain {
        return Ok(());
    }
    Err(Failure::new(format!(
        "--at {path:?} is no plain path of a file from the root"
    ))
    .help("letters, digits and ._- in every part, such as /usr/local/lib/bkpctl/bkpctl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mean_more_in_sudoers_is_refused() {
        for user in ["", "%wheel", "ALL=x", "a b", "-x", "a,b", "#0", "é"] {
            assert!(plain_user(user).is_err(), "{user}");
        }
        for user in ["ci", "_bkpctl", "first.last-2"] {
            assert!(plain_user(user).is_ok(), "{user}");
        }
        for path in [
            "bkpctl", "/", "/a/", "/a b", "/a\"", "/a/../b", "/a*", "/a,b", "/a\\",
        ] {
            assert!(plain_path(path).is_err(), "{path}");
        }
        assert!(plain_path("/usr/local/lib/bkpctl/bkpctl").is_ok());
    }
}

//! The nodes of a topology as they can be worked with: transports, agents, stores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::store::Store;
use crate::model::observed::NodeFacts;
use crate::model::topology::{Datastore, Node, Reach, SshReach};
use crate::model::{Name, Observed, Topology};
use crate::run::link::{Hands, Link, transport_fault};
use crate::run::message::Fault;
use crate::run::mounted::MustMount;
use crate::run::node::{Held, NodeCall, NodeReply};
use crate::run::peer::{Handler, OnlyAsks};
use crate::run::{here, remote_store};
use crate::transport::{Ask, Launch, Local, Ssh, SshTarget, Transport, TransportError};

/// How nodes are reached from here.
#[derive(Debug, Clone, Default)]
pub struct Connect {
    /// The user's SSH configuration, if not the usual one.
    pub ssh_config: Option<PathBuf>,
    /// The static binary for nodes, if not the running one.
    pub agent_binary: Option<PathBuf>,
    /// When a node is given up.
    pub timeout: Option<Duration>,
    /// Who knows the passphrases of locked keys, if somebody is there.
    pub ask: Option<Ask>,
}

/// The nodes of a topology as they can be worked with.
///
/// Agents are started when first needed and end with the fleet; each holds its node's
/// lock, so that two applies of one topology never work on the same node.
pub struct Fleet {
    /// What is declared.
    pub topology: Topology,
    /// What was seen.
    pub observed: Observed,
    connect: Connect,
    holder: String,
    hands: Mutex<BTreeMap<Name, Slot>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("topology", &self.topology.name)
            .finish_non_exhaustive()
    }
}

/// The place of one node's hands, empty until they are needed.
type Slot = Arc<Mutex<Option<Arc<Hands>>>>;

/// What a process that serves a datastore may do for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Read only.
    Get,
    /// Read what a writer must read, and add.
    Put,
    /// Read everything, and add.
    PutGet,
    /// Everything.
    Admin,
}

impl Rights {
    /// Returns the words after `serve --allow`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::PutGet => "put,get",
            Self::Admin => "put,get,admin",
        }
    }
}

/// Makes the transport to a node.
pub fn transport(
    topology: &Topology,
    name: &str,
    node: &Node,
    connect: &Connect,
) -> Result<Arc<dyn Transport>, TransportError> {
    match &node.reach {
        Reach::Local => Ok(Arc::new(Local::new())),
        Reach::Ssh(ssh) => {
            let target = ssh_target(topology, name, ssh, connect)?;
            Ok(Arc::new(Ssh::new(&target)?))
        }
    }
}

/// Says how a node is reached over SSH.
///
/// Jumps never go round in circles: `config` has refused that.
pub fn ssh_target(
    topology: &Topology,
    name: &str,
    ssh: &SshReach,
    connect: &Connect,
) -> Result<SshTarget, TransportError> {
    let unsupported = |what: String, next: &str| TransportError::Unsupported {
        host: format!("{name} ({})", ssh.host),
        what,
        next: next.to_owned(),
    };
    let through = |jump: &Name| match topology.nodes.get(jump).map(|node| &node.reach) {
        Some(Reach::Ssh(ssh)) => ssh_target(topology, jump, ssh, connect).map(Box::new),
        // A machine is reached from here without going through here.
        Some(Reach::Local) | None => Err(unsupported(
            format!("it is reached through {jump}, which is no machine to go through"),
            "name a node that is reached over SSH",
        )),
    };
    let expand = |path: &str| {
        here::expand_home(path).map_err(|fault| {
            unsupported(fault.message, "write the path of the identity-file in full")
        })
    };
    let mut target = SshTarget::new(ssh.host.clone());
    target.user.clone_from(&ssh.user);
    target.port = ssh.port;
    target.host_keys.clone_from(&ssh.host_keys);
    target.identity_file = ssh.identity_file.as_deref().map(expand).transpose()?;
    target.ask.clone_from(&connect.ask);
    target.jump = ssh.jump.as_ref().map(through).transpose()?;
    target.sudo = ssh.sudo;
    target.config_file.clone_from(&connect.ssh_config);
    if let Some(timeout) = connect.timeout {
        target.connect_within = timeout;
    }
    Ok(target)
}

impl Fleet {
    /// Joins what is declared with what was seen.
    pub fn new(topology: Topology, observed: Observed, connect: Connect, holder: String) -> Self {
        Self {
            topology,
            observed,
            connect,
            holder,
            hands: Mutex::default(),
        }
    }

    /// Returns what was seen of a node.
    pub fn facts(&self, node: &str) -> Result<&NodeFacts, Fault> {
        self.observed.reached(node).ok_or_else(|| {
            let why = self
                .observed
                .unreachable(node)
                .map_or("it was not looked at", |u| &u.message);
            Fault::lost(format!("node {node} was not reached: {why}"))
        })
    }

    /// Tells whether a node was reached with a key that may only look.
    pub fn only_looks(&self, node: &str) -> bool {
        let facts = self.observed.reached(node);
        facts.is_some_and(|facts| facts.login.only_looks)
    }

    /// Returns a declared datastore.
    pub fn datastore(&self, name: &str) -> Result<&Datastore, Fault> {
        self.topology
            .datastores
            .get(name)
            .ok_or_else(|| Fault::refused(format!("no datastore is called {name}")))
    }

    /// Returns our folder on a node.
    pub fn state_folder(&self, node: &str) -> Result<String, Fault> {
        self.facts(node).map(|facts| facts.state.folder.clone())
    }

    /// Makes a new transport to a node.
    pub fn transport(&self, name: &str) -> Result<Arc<dyn Transport>, Fault> {
        if self.only_looks(name) {
            return Err(Fault::refused(format!(
                "the key that {name} let us in with may only look; use another one to change something there"
            )));
        }
        let node = self.topology.nodes.get(name);
        let node = node.ok_or_else(|| Fault::refused(format!("no node is called {name}")))?;
        transport(&self.topology, name, node, &self.connect)
            .map_err(|error| transport_fault(&error))
    }

    /// Places the static binary on a node and checks that what arrived is what was sent.
    pub fn place_binary(&self, node: &Name, hash: &str, folder: &str) -> Result<String, Fault> {
        let binary = here::read_binary(self.connect.agent_binary.as_deref())?;
        if blake3::hash(&binary).to_hex().as_str() != hash {
            return Err(Fault::stale(
                "the binary to place has changed since the plan was made",
            ));
        }
        let path = binary_path(folder, hash);
        let privileged = self.facts(node)?.login.privileged;
        self.transport(node)?
            .upload(&path, 0o755, privileged, &binary)
            .map_err(|error| transport_fault(&error))?;
        match self.hands(node)?.ask(NodeCall::Identify)? {
            NodeReply::Text(found) if found == hash => Ok(format!("{path}, hash checked")),
            _ => Err(Fault::refused(format!(
                "the binary placed at {path} on {node} is not the one that was sent; remove it and apply again"
            ))),
        }
    }

    /// Returns the hands on a node, with its lock taken.
    pub fn hands(&self, node: &Name) -> Result<Arc<Hands>, Fault> {
        let slot = {
            let mut all = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(node.clone()).or_default())
        };
        // Only whoever needs this very node waits while its agent starts.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hands) = &*slot {
            return Ok(Arc::clone(hands));
        }
        let hands = Arc::new(self.reach_out(node)?);
        *slot = Some(Arc::clone(&hands));
        Ok(hands)
    }

    /// Starts new hands on a node, which hold no lock.
    pub fn free_hands(&self, node: &Name) -> Result<Hands, Fault> {
        Ok(if self.topology.is_local(node) {
            Hands::Here(Held::default())
        } else {
            Hands::There(self.start(node, &["agent"], true, Arc::new(OnlyAsks))?)
        })
    }

    fn reach_out(&self, node: &Name) -> Result<Hands, Fault> {
        let hands = self.free_hands(node)?;
        let folder = self.state_folder(node)?;
        hands.ask(NodeCall::Lock {
            folder,
            holder: self.holder.clone(),
        })?;
        Ok(hands)
    }

    /// Starts bkpctl on a node with these arguments.
    pub fn start(
        &self,
        node: &Name,
        arguments: &[&str],
        as_root: bool,
        handler: Arc<dyn Handler>,
    ) -> Result<Link, Fault> {
        let facts = self.facts(node)?;
        let program = if self.topology.is_local(node) {
            here::own_path()?
        } else {
            let hash = self
                .observed
                .binary
                .as_ref()
                .map(|b| b.hash.as_str())
                .unwrap_or_default();
            binary_path(&facts.state.folder, hash)
        };
        let argv = std::iter::once(program.as_str()).chain(arguments.iter().copied());
        let launch = Launch::new(argv).privileged(as_root && facts.login.privileged);
        Link::open(self.transport(node)?.as_ref(), &launch, handler)
    }

    /// Opens a datastore with these rights, as its owner.
    ///
    /// In this process only where we are the owner already: otherwise root would leave
    /// files of its own in somebody else's datastore.
    pub fn store(&self, name: &Name, rights: Rights) -> Result<Arc<dyn Store>, Fault> {
        self.connect_store(name, rights, false)
    }

    /// Opens a datastore that a person named.
    pub fn store_named(&self, name: &str, rights: Rights) -> Result<Arc<dyn Store>, Fault> {
        let name = Name::new(name).map_err(|error| Fault::refused(error.to_string()))?;
        self.store(&name, rights)
    }

    /// Makes the folders of a new repository in a datastore and opens it with every right.
    pub fn create_store(&self, name: &Name) -> Result<Arc<dyn Store>, Fault> {
        self.connect_store(name, Rights::Admin, true)
    }

    fn connect_store(
        &self,
        name: &Name,
        rights: Rights,
        create: bool,
    ) -> Result<Arc<dyn Store>, Fault> {
        let datastore = self.datastore(name)?;
        let place = datastore.first_place().ok_or_else(|| {
            Fault::refused(format!(
                "datastore {name} is a bucket, which this version does not carry out"
            ))
        })?;
        let facts = self.facts(&place.node)?;
        let mounted = place.mount.as_ref();
        let mounted = mounted.and_then(|mount| MustMount::declared(&self.topology, mount));
        let reserve = datastore.reserve.map(|amount| amount.to_string());
        let is_owner = datastore.owner.as_ref().is_none_or(here::is_us);
        if self.topology.is_local(&place.node) && is_owner {
            if let Some(mounted) = &mounted {
                mounted.check(&place.path)?;
            }
            return if create {
                here::create_directory(&place.path, datastore.reserve)
            } else {
                here::open_directory(&place.path, datastore.reserve)
            };
        }
        let owner = datastore
            .owner
            .as_ref()
            .map_or((facts.login.uid, facts.login.gid), |owner| {
                (owner.uid, owner.gid)
            });
        let owner_words = format!("{}:{}", owner.0, owner.1);
        let mut arguments = vec![
            "serve",
            "--datastore",
            place.path.as_str(),
            "--owner",
            owner_words.as_str(),
            "--allow",
            rights.words(),
        ];
        if let Some(reserve) = &reserve {
            arguments.extend(["--reserve", reserve.as_str()]);
        }
        let mounted = mounted.map(|mounted| mounted.to_string());
        if let Some(mounted) = &mounted {
            arguments.extend(["--mounted", mounted.as_str()]);
        }
        if create {
            arguments.push("--create");
        }
        // Root is needed only to become somebody else.
        let as_root = owner != (facts.login.uid, facts.login.gid);
        let link = self.start(&place.node, &arguments, as_root, Arc::new(OnlyAsks))?;
        Ok(Arc::new(remote_store::RemoteStore::serving(link)))
    }
}

/// Returns where a binary of this hash lies in our folder on a node.
pub fn binary_path(folder: &str, hash: &str) -> String {
    format!("{}/bin/bkpctl-{hash}", folder.trim_end_matches('/'))
}

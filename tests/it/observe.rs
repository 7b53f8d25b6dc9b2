//! Looking at nodes: what is asked, what is seen, and that one node never holds up another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bkpctl::config::load;
use bkpctl::model::observed::{NodeFacts, NodeState, Outcome, UnreachableKind};
use bkpctl::model::topology::{Node, Reach};
use bkpctl::model::{Name, Timestamp, Topology};
use bkpctl::observe::{ObserveOptions, observe, wanted};
use bkpctl::transport::{Fake, Local, Output, Ssh, SshTarget, Transport, TransportError};

use crate::support::sshd::{self, Sshd, SshdOptions};
use crate::support::text::Text;

fn topology(folder: &str, text: &str) -> Topology {
    let text = format!("topology \"lab\" id=\"01JD4Z9K3T\"\n{text}\n");
    let loaded = load("lab.kdl", folder, &mut Text(text));
    loaded
        .topology
        .unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(since.expect("after 1970").as_nanos()).expect("before 2262"))
}

fn look(
    topology: &Topology,
    connect: impl Fn(&Name, &Node) -> Result<Arc<dyn Transport>, TransportError> + Sync,
) -> BTreeMap<Name, NodeState> {
    observe(topology, &connect, &now, &ObserveOptions::default()).nodes
}

/// Connects as the topology says, without the user's own SSH configuration.
fn connect(_: &Name, node: &Node) -> Result<Arc<dyn Transport>, TransportError> {
    let ssh = match &node.reach {
        Reach::Local => return Ok(Arc::new(Local::new())),
        Reach::Ssh(ssh) => ssh,
    };
    let target = SshTarget {
        user: ssh.user.clone(),
        port: ssh.port,
        host_keys: ssh.host_keys.clone(),
        identity_file: ssh.identity_file.as_ref().map(Into::into),
        config_file: Some("/dev/null".into()),
        connect_within: Duration::from_secs(5),
        ..SshTarget::new(&ssh.host)
    };
    Ok(Arc::new(Ssh::new(&target)?))
}

fn reached<'a>(nodes: &'a BTreeMap<Name, NodeState>, node: &str) -> &'a NodeFacts {
    match &nodes[node] {
        NodeState::Reached(facts) => facts,
        NodeState::Unreachable(why) => panic!("{node}: {}", why.message),
    }
}

fn kind(nodes: &BTreeMap<Name, NodeState>, node: &str) -> UnreachableKind {
    match &nodes[node] {
        NodeState::Unreachable(why) => {
            assert!(!why.message.is_empty());
            why.kind
        }
        NodeState::Reached(_) => panic!("{node} was reached"),
    }
}

#[test]
fn each_node_is_asked_only_for_what_the_topology_needs() {
    let topology = topology(
        "/lab",
        r#"
        service-user "backup" uid=34 gid=34
        node "here" { local; scratch "/var/tmp" }
        node "far" { ssh "ops@10.0.0.1" { host-key "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4zTbcVsXl1cAPQ4Z3DdyhcASxpXzMuEYhEIhq8lBqn"; become "sudo" }; agent "none" }
        key "lab" { file "lab.key" }
        datastore "main" { place "here" path="stores/main"; owner "backup"; keep last=3 }
        source "etc" on="far" { path "/etc"; path "/srv" }
        source "db" on="far" { command "pg_dump" "-Fc" }
        phase "all" {
            backup "nightly" { source "etc" "db"; to "main" }
            drill "proof" { source "etc"; from "main"; on "here"; command "fsck" "-n" }
        }
        "#,
    );
    let wanted = wanted(&topology);
    let here = &wanted["here"];
    assert_eq!(here.paths, ["/lab/stores/main", "/var/tmp"]);
    assert_eq!(here.datastores[0].owner, Some((34, 34)));
    assert!(here.sources.is_empty());
    assert!(here.tools.contains(&"fsck".to_owned()));
    let folder = here.folder.as_ref().expect("our files go there");
    assert_eq!(
        (folder.topology.as_str(), folder.node.as_str()),
        ("lab", "here")
    );

    let far = &wanted["far"];
    assert_eq!(far.paths, ["/etc", "/srv"]);
    assert!(far.sudo && far.folder.is_none() && far.datastores.is_empty());
    assert!(far.tools.contains(&"pg_dump".to_owned()) && !far.tools.contains(&"fsck".to_owned()));
    // By name, and by number, so that one who has the number under another name is seen.
    assert_eq!(far.users, ["34", "backup"]);
}

#[test]
fn where_a_datastore_of_proxmox_backup_server_is_its_own_places_are_asked_for() {
    let topology = topology(
        "/lab",
        r#"
        node "pbs" { local }
        node "other" { ssh "10.0.0.1" { host-key "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4zTbcVsXl1cAPQ4Z3DdyhcASxpXzMuEYhEIhq8lBqn" } }
        key "lab" { file "lab.key" }
        datastore "guests" { place "pbs" path="/srv/guests"; pbs; keep last=3 }
        "#,
    );
    let wanted = wanted(&topology);
    let pbs = &wanted["pbs"];
    let its_own = "/etc/proxmox-backup/authkey.pub".to_owned();
    assert!(pbs.paths.contains(&its_own) && pbs.paths.contains(&"/run/proxmox-backup".to_owned()));
    assert_eq!(pbs.users, ["backup"]);
    let other = &wanted["other"];
    assert!(other.paths.is_empty() && other.users.is_empty());
}

#[test]
fn an_unreachable_node_is_a_value_among_others() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let other = Sshd::start(&dir.path().join("other"), &SshdOptions::default());
    let node = |server: &Sshd, port: u16, key: &str, identity: &Sshd| {
        format!(
            "ssh \"{}@{}\" port={port} {{ host-key \"{key}\"; identity-file \"{}\" }}",
            sshd::login_name(),
            server.address().ip(),
            identity.identity().display()
        )
    };
    let port = server.address().port();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("it is bound").port()
    };
    let topology = topology(
        dir.path().to_str().expect("utf-8"),
        &format!(
            "node \"here\" {{ local }}\nnode \"good\" {{ {} }}\nnode \"absent\" {{ {} }}\nnode \"forged\" {{ {} }}\nnode \"stranger\" {{ {} }}\n\
             key \"lab\" {{ file \"lab.key\" }}\n\
             datastore \"main\" {{ place \"good\" path=\"{}/store\"; keep last=3 }}\n\
             source \"conf\" on=\"here\" {{ path \"/etc/ssh\" }}\n\
             phase \"all\" {{ backup \"nightly\" {{ source \"conf\"; to \"main\" }} }}",
            node(&server, port, server.host_key(), &server),
            node(&server, closed, server.host_key(), &server),
            node(&server, port, other.host_key(), &server),
            node(&server, port, server.host_key(), &other),
            dir.path().display(),
        ),
    );
    let nodes = look(&topology, connect);
    assert_eq!(nodes.len(), 5);
    assert_eq!(kind(&nodes, "absent"), UnreachableKind::Connect);
    assert_eq!(kind(&nodes, "forged"), UnreachableKind::HostKey);
    assert_eq!(kind(&nodes, "stranger"), UnreachableKind::Login);
    let here = reached(&nodes, "here");
    assert_eq!(here.paths["/etc/ssh"].outcome, Outcome::Ok);
    assert_eq!(here.sources["conf"].readable, Some(true));
    let good = reached(&nodes, "good");
    assert!(good.skew_ms.abs() < 2_000, "{}", good.skew_ms);
    assert_eq!(
        good.via,
        format!("{}@{}", sshd::login_name(), server.address())
    );
    assert_eq!(
        good.paths[&format!("{}/store", dir.path().display())].outcome,
        Outcome::Missing
    );
}

#[test]
fn only_the_chosen_nodes_are_looked_at() {
    let topology = topology("/", "node \"a\" { local }\nnode \"b\" { local }\n");
    let options = ObserveOptions {
        only: Some(BTreeSet::from([name("b")])),
        ..ObserveOptions::default()
    };
    let observed = observe(&topology, &connect, &now, &options);
    assert_eq!(observed.nodes.keys().collect::<Vec<_>>(), [&name("b")]);
}

#[test]
fn a_hostile_answer_makes_the_node_unreachable_not_half_known() {
    let topology = topology(
        "/",
        "node \"a\" { local }\nnode \"b\" { local }\nnode \"c\" { local }\n",
    );
    let nodes = look(&topology, |name, _| {
        let stdout = match name.as_str() {
            "a" => b"\x1b[2Jgarbage\xff".to_vec(),
            "b" => b"host.name 3\npwn\n".to_vec(),
            _ => vec![],
        };
        let stderr = b"\x1b]0;title\x07 oops".to_vec();
        let output = Output {
            stdout,
            stderr,
            status: 0,
        };
        Ok(Arc::new(Fake::new(name.as_str(), move |_| {
            Ok(output.clone())
        })))
    });
    for node in ["a", "b", "c"] {
        assert_eq!(kind(&nodes, node), UnreachableKind::Answer);
        let NodeState::Unreachable(why) = &nodes[node] else {
            unreachable!("checked above")
        };
        assert!(!why.message.contains('\u{1b}'), "{}", why.message);
    }
}

#[test]
fn without_root_rights_the_rest_is_still_seen() {
    let topology = topology(
        "/",
        "node \"nas\" { ssh \"ops@nas\" { become \"sudo\" } }\n",
    );
    let nodes = look(&topology, |_, _| {
        let local = Local::new();
        Ok(Arc::new(Fake::new("ops@nas:22", move |script| {
            if script.privileged {
                return Err(TransportError::Denied {
                    host: "ops@nas:22".into(),
                    detail: "sudo: a password is required".into(),
                });
            }
            local.run(script)
        })))
    });
    let facts = reached(&nodes, "nas");
    assert_eq!(facts.login.uid, rustix::process::geteuid().as_raw());
}

#[test]
fn twenty_nodes_are_seen_side_by_side() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let mut text = String::from("key \"lab\" { file \"lab.key\" }\n");
    for number in 0..20 {
        writeln!(
            text,
            "node \"n{number}\" {{ ssh \"{}@127.0.0.1\" port={} {{ host-key \"{}\"; identity-file \"{}\" }} }}",
            sshd::login_name(),
            server.address().port(),
            server.host_key(),
            server.identity().display(),
        ).expect("writing to a String never fails");
    }
    let topology = topology("/", &text);
    let started = Instant::now();
    let nodes = look(&topology, connect);
    for node in nodes.keys() {
        reached(&nodes, node.as_str());
    }
    // Twenty servers share this machine's processors with the test, so this is generous.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

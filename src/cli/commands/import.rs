//! `bkpctl import`: look at machines and write down what is there, as a topology.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use crate::cli::args::Import;
use crate::cli::commands::init::{fresh_id, read, refuse_existing, write};
use crate::cli::context::{Context, connect, now};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::report;
use crate::cli::render::text::{count, escape};
use crate::config::{Found, Host, ShownKey, Way};
use crate::model::observed::{NodeState, Unreachable, UnreachableKind};
use crate::model::topology::Reach;
use crate::model::{Address, Topology};
use crate::observe::{ObserveOptions, discover};
use crate::plan::change::{Action, Step};
use crate::plan::plan;
use crate::run::fleet::{Connect, ssh_target, transport};
use crate::transport::{Script, Ssh, SshTarget, Transport, TransportError, host_key};

/// Looks around, checks that the topology changes nothing, and prints it or writes one new file.
pub fn run(context: &Context, args: &Import) -> Outcome {
    if let Some(out) = &args.out {
        refuse_existing(out)?;
    }
    let mut found = named(args)?;
    let connect = connect(&args.reach);
    meet(context, &mut found, &connect)?;
    look(context, &mut found, &connect)?;
    let text = settle(context, &mut found, args)?;
    match &args.out {
        None => context.print_exactly(&text)?,
        Some(out) => {
            let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
            write(folder.unwrap_or(Path::new(".")), out, &text)?;
            let out = escape(&out.display().to_string());
            context.print(&format!(
                "Wrote {out}. Read it and compare the host keys, then: bkpctl plan {out}"
            ));
        }
    }
    Ok(missed(context, &found))
}

/// Returns the machines as they were named, with nothing seen of them yet.
fn named(args: &Import) -> Result<Found, Failure> {
    let mut once = BTreeSet::new();
    let hosts = args.hosts.iter().filter(|host| once.insert(host.as_str()));
    Ok(Found {
        name: args.name.clone(),
        id: fresh_id()?,
        hosts: hosts
            .map(|host| Host {
                way: way(host),
                state: NodeState::Unreachable(Unreachable {
                    kind: UnreachableKind::Connect,
                    message: "nobody looked".to_owned(),
                }),
            })
            .collect(),
        aside: std::collections::BTreeMap::new(),
    })
}

/// Reads `local`, or a host with a login before it and a port behind it, or without.
fn way(host: &str) -> Way {
    if host == "local" {
        return Way::Local;
    }
    let with_port = host
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (login, port) = match with_port {
        Some((login, port)) => (login, Some(port)),
        None => (host, None),
    };
    Way::Ssh {
        login: login.to_owned(),
        port,
        key: None,
    }
}

fn machines(context: &Context, found: &Found) -> Result<Topology, Failure> {
    valid(
        context,
        &found.machines_only(),
        "a machine can't be reached as it was named",
    )
}

fn valid(context: &Context, text: &str, problem: &str) -> Result<Topology, Failure> {
    let loaded = read(Path::new("."), text);
    match loaded.topology {
        Some(topology) => Ok(topology),
        None => Err(Failure::new(format!(
            "{problem}:\n\n{}",
            report(context, &loaded)
        ))),
    }
}

/// Asks every machine for its host key, all at once.
fn meet(context: &Context, found: &mut Found, connect: &Connect) -> Result<(), Failure> {
    let topology = machines(context, found)?;
    let target = |number: usize| {
        let name = Found::first_name(number);
        match topology.nodes.get(&name).map(|node| &node.reach) {
            Some(Reach::Ssh(ssh)) => ssh_target(&topology, &name, ssh, connect).ok(),
            _ => None,
        }
    };
    thread::scope(|scope| {
        for (number, host) in found.hosts.iter_mut().enumerate() {
            if let (Way::Ssh { key, .. }, Some(target)) = (&mut host.way, target(number)) {
                scope.spawn(move || *key = shown(&target));
            }
        }
    });
    Ok(())
}

/// Returns the host key that a machine shows, if it answers.
fn shown(target: &SshTarget) -> Option<ShownKey> {
    let key = host_key(target).ok()?.into_iter().next()?;
    let script = Script::new("true").purpose("see whether the host key is known");
    let met = Ssh::new(target).and_then(|ssh| ssh.run(&script));
    Some(ShownKey {
        line: key.line,
        fingerprint: key.fingerprint,
        known: !matches!(met, Err(TransportError::HostKeyUnknown { .. })),
    })
}

/// Looks around on every machine, all at once.
fn look(context: &Context, found: &mut Found, connect: &Connect) -> Result<(), Failure> {
    let topology = machines(context, found)?;
    let mut observed = discover(
        &topology,
        &|name, node| transport(&topology, name, node, connect),
        &now,
        &ObserveOptions::default(),
    );
    for (number, host) in found.hosts.iter_mut().enumerate() {
        if let Some(state) = observed.nodes.remove(&Found::first_name(number)) {
            host.state = state;
        }
    }
    Ok(())
}

/// Returns the topology's text, with everything only proposed that a plan would change.
fn settle(context: &Context, found: &mut Found, args: &Import) -> Result<String, Failure> {
    let problem = "what was found makes no valid topology, which is a fault of bkpctl's";
    let mut text = found.text();
    let mut topology = valid(context, &text, problem)?;
    let (at, observed) = context.observe(topology.clone(), &args.reach)?;
    loop {
        let plan = plan(&topology, &observed, at);
        let before = found.aside.len();
        found.aside.extend(plan.actions.iter().filter_map(changed));
        if found.aside.len() == before {
            return Ok(text);
        }
        text = found.text();
        topology = valid(context, &text, problem)?;
    }
}

/// Returns what an action would change, unless that is bkpctl's own.
fn changed(action: &Action) -> Option<(Address, String)> {
    let is_ours = matches!(
        action.step,
        Step::PlaceBinary { .. } | Step::Register { .. } | Step::WriteManaged { .. }
    );
    (!is_ours).then(|| {
        let reason = format!("{}: {}", action.reason, action.after_words);
        (action.address.clone(), reason)
    })
}

/// Says which machines were not reached.
fn missed(context: &Context, found: &Found) -> Exit {
    let missed = found
        .hosts
        .iter()
        .filter_map(|host| match (&host.way, &host.state) {
            (Way::Ssh { login, .. }, NodeState::Unreachable(why)) => Some((login.as_str(), why)),
            (Way::Local, NodeState::Unreachable(why)) => Some(("local", why)),
            _ => None,
        });
    let mut exit = Exit::Ok;
    let mut number = 0;
    for (host, why) in missed {
        context.warn(&format!("{host} was not reached: {}", why.message));
        exit = Exit::Incomplete;
        number += 1;
    }
    if number > 0 {
        context.warn(&format!(
            "{} left out",
            count(number, "machine is", "machines are")
        ));
    }
    exit
}

//! `bkpctl host-key`: print the host key a node offers, as a line to paste.

use crate::cli::args::HostKey;
use crate::cli::context::{Context, connect};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::model::topology::Reach;
use crate::run::fleet;

/// Asks the node and prints; nothing is trusted or written.
pub fn run(context: &Context, args: &HostKey) -> Outcome {
    let topology = load(context, &args.nodes.place.topology)?;
    let failed = |error| Failure::new(format!("failed to {error}")).exit(Exit::Incomplete);
    let ssh = match topology
        .nodes
        .get(args.node.as_str())
        .map(|node| &node.reach)
    {
        Some(Reach::Ssh(ssh)) => ssh,
        Some(Reach::Local) => {
            return Err(Failure::new(format!(
                "node {} is this machine and has no host key",
                args.node
            )));
        }
        None => return Err(Failure::unknown("node", &args.node, topology.nodes.keys())),
    };
    let target = fleet::ssh_target(&topology, &args.node, ssh, &connect(&args.nodes.reach))
        .map_err(failed)?;
    let offered = crate::transport::host_key(&target).map_err(failed)?;
    for key in &offered {
        context.print(&format!(
            "host-key {:?}    // {}",
            key.line, key.fingerprint
        ));
    }
    context.print(
        "\nNothing was trusted. Compare a fingerprint on the machine itself, with\n    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\nthen paste that one line between the braces of the node's ssh.",
    );
    Ok(Exit::Ok)
}

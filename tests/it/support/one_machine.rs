//! A topology with two copies and a proof on one machine, and something to copy.

use std::fs;

use crate::support::sandbox::Sandbox;
use crate::support::tree::make_tree;

/// Two datastores, a source, and a phase with a backup, a sync and a drill.
pub(crate) const ONE_MACHINE: &str = r#"
topology "one" id="onemachine1"
node "here" { local; agent path="state"; scratch "scratch" }
key "demo" { file "demo.key"; create }
datastore "first" { place "here" path="first"; keep last=3 }
datastore "second" { place "here" path="second"; keep last=3 }
source "data" on="here" { path "data" }
phase "baseline" {
    backup "nightly" { source "data"; to "first"; at "02:00" }
    sync "again" { from "first"; to "second"; at "04:00" }
    drill "proof" { source "data"; from "second"; every "7d" }
}
"#;

/// A copy that takes long enough to be interrupted, and says when it runs.
const SLOW: &str = r#"
topology "slow" id="slowmachine1"
node "here" { local; agent path="state"; scratch "scratch" }
key "demo" { file "demo.key"; create }
datastore "first" { place "here" path="first"; keep last=3 }
source "slow" on="here" { command "sh" "-c" "touch RUNNING; i=0; while [ $i -lt 40 ]; do echo $i; sleep 0.1; i=$((i+1)); done"; name "out" }
phase "baseline" {
    backup "nightly" { source "slow"; to "first"; at "02:00" }
    drill "proof" { source "slow"; from "first"; every "7d" }
}
"#;

/// Makes a sandbox whose only copy takes some seconds, and has made the file `running` by then.
pub(crate) fn slow() -> Sandbox {
    let sandbox = sandbox("");
    let running = sandbox.join("running").display().to_string();
    sandbox.write("topology.kdl", SLOW.replace("RUNNING", &running));
    sandbox
}

/// Makes a sandbox with a topology, a scratch folder and a tree of files in `data`.
pub(crate) fn sandbox(topology: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("topology.kdl", topology);
    fs::create_dir(sandbox.join("scratch")).expect("a folder");
    fs::create_dir(sandbox.join("data")).expect("a folder");
    make_tree(&sandbox.join("data"));
    sandbox
}

//! Bundles for reports: nobody's names are in them, and they plan as the originals do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bkpctl::cli::redact::redact;
use bkpctl::model::Facts;
use bkpctl::plan::{Plan, plan};
use serde_json::Value;

use crate::access_cases::states;
use crate::plan_cases::{cases, now};
use crate::support::sandbox::Sandbox;

/// What of a plan names nobody.
fn essence(plan: &Plan) -> Vec<String> {
    let findings = plan.findings.iter().map(|found| {
        let kind = found.address.kind();
        format!(
            "{} {:?} {kind} {}",
            found.code, found.severity, found.fixed_by_plan
        )
    });
    let actions = plan.actions.iter().map(|action| {
        let landing: Vec<_> = action
            .landing
            .iter()
            .map(|at| (at.bytes_max, at.free, at.fits))
            .collect();
        format!(
            "{} {:?} {} {landing:?}",
            action.address.kind(),
            action.gate.as_ref().map(|gate| gate.kind),
            action.deferred.is_some()
        )
    });
    let copies = plan
        .protection
        .iter()
        .map(|copy| format!("{:?} {:?}", copy.state, copy.age));
    let proofs = plan
        .proofs
        .iter()
        .map(|proof| format!("{:?} {:?}", proof.state, proof.age));
    let phases = plan.phases.iter().map(|phase| format!("{:?}", phase.state));
    let policy = plan
        .policy
        .iter()
        .map(|line| format!("{} {:?}", line.rule, line.verdict));
    let space = plan
        .capacity
        .iter()
        .map(|line| format!("{:?} {:?}", line.free_before, line.free_after));
    let mut all: Vec<String> = findings
        .chain(actions)
        .chain(copies)
        .chain(proofs)
        .chain(phases)
        .chain(policy)
        .chain(space)
        .collect();
    all.sort();
    all
}

#[test]
fn what_is_found_without_names_is_what_is_found_with_them() {
    let mut wrong = Vec::new();
    let cases = cases().into_iter();
    let shares = states().into_iter().enumerate();
    let all = cases
        .map(|case| (case.name, case.topology, case.observed))
        .chain(shares.map(|(n, (topology, observed))| (format!("share {n}"), topology, observed)));
    for (name, topology, observed) in all {
        let facts = Facts {
            format: 1,
            topology: topology.id.clone(),
            at: now(),
            observed,
        };
        let redacted =
            redact(&topology, &facts, [3; 32]).unwrap_or_else(|why| panic!("{name}: {why}"));
        let before = essence(&plan(&topology, &facts.observed, now()));
        let after = essence(&plan(&redacted.topology, &redacted.facts.observed, now()));
        if before != after {
            let lost: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
            let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
            wrong.push(format!("{name}: lost {lost:#?}, new {new:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const TOPOLOGY: &str = r#"
topology "annas" id="annasid0001"
node "annas-desk" { local; agent path="annas-state" }
key "annas-key" { file "annas.key" }
datastore "annas-store" { place "annas-desk" path="annas-folder"; keep last=3 }
source "annas-letters" on="annas-desk" { path "annas-data"; exclude "annas-*" }
phase "annas-phase" { backup "annas-job" { source "annas-letters"; to "annas-store"; at "02:00" } }
policy { copies 1; rpo "26h" }
"#;

#[test]
fn a_bundle_holds_no_name_and_plans_by_itself() {
    let sandbox = Sandbox::new();
    sandbox.write("topology.kdl", TOPOLOGY);
    sandbox.write("annas-data/annas-file", "x");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    sandbox
        .run(&["collect", "--out", "bundle.json"])
        .exits(0)
        .says("Replaced")
        .says("Kept")
        .says("the plan finds the same without names")
        .says("bkpctl plan --facts bundle.json");
    let file = sandbox.join("bundle.json");
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&file).expect("text");
    let folder = sandbox
        .path()
        .file_name()
        .and_then(|name| name.to_str())
        .expect("utf-8");
    assert!(!text.contains("annas") && !text.contains(folder), "{text}");
    assert!(host.trim().len() < 4 || !text.contains(&format!("\"{}\"", host.trim())));
    let bundle: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(bundle["finds_the_same"], true);
    assert_eq!(bundle["topology"]["policy"]["copies"], 1, "numbers stay");

    // The topology is in it, so none is needed where it is read.
    let elsewhere = Sandbox::new();
    fs::copy(&file, elsewhere.join("bundle.json")).expect("copied");
    let count = |ran: crate::support::sandbox::Ran| {
        let plan: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        plan["findings"].as_array().expect("findings").len()
    };
    let there = count(elsewhere.run(&["plan", "--facts", "bundle.json", "--json"]));
    sandbox.run(&["observe", "--save", "facts.json"]).exits(0);
    let here = count(sandbox.run(&["plan", "--facts", "facts.json", "--json"]));
    assert_eq!(there, here);
    // From saved facts it is the same bundle but for the pseudonyms' key.
    sandbox
        .run(&["collect", "--facts", "facts.json", "--out", "again.json"])
        .exits(0);
    elsewhere.write(
        "bad.json",
        text.replacen("\"bundle\": 1", "\"bundle\": 2", 1),
    );
    elsewhere
        .run(&["plan", "--facts", "bad.json"])
        .exits(1)
        .says("another format");
}

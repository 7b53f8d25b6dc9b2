//! A kit read as its forge reads it, and the machine of a runner with a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use yaml_serde::Value;

use super::forge::{BOTS, Forge, NUMBER, State};
use crate::support::one_machine::{self, ONE_MACHINE};
use crate::support::sandbox::{Ran, Sandbox};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bkpctl");
pub(super) const TOKEN: &str = "a-token-for-comments";
pub(super) const KEY: &str = "a private key";

/// How a kit's file is read and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    GitHub,
    Forgejo,
    GitLab,
}

pub(super) const KINDS: [Kind; 3] = [Kind::GitHub, Kind::Forgejo, Kind::GitLab];

impl Kind {
    pub(super) fn file(self) -> PathBuf {
        let name = match self {
            Self::GitHub => "github/bkpctl.yml",
            Self::Forgejo => "forgejo/bkpctl.yml",
            Self::GitLab => "gitlab/gitlab-ci.yml",
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/ci")
            .join(name)
    }

    pub(super) fn document(self) -> Value {
        let text = fs::read_to_string(self.file()).expect("a kit");
        yaml_serde::from_str(&text).expect("a kit is YAML")
    }

    /// The name of what the kit's token belongs to.
    fn bot(self) -> &'static str {
        BOTS[usize::from(self == Self::Forgejo)]
    }
}

/// A step, or for GitLab all of a job: what a shell is given, and with which variables.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) script: String,
    pub(super) env: BTreeMap<String, String>,
}

/// Returns what a YAML map has, by name.
pub(super) fn map(value: &Value) -> Vec<(String, &Value)> {
    let pairs = value.as_mapping().into_iter().flatten();
    let named = pairs.map(|(name, value)| (name.as_str().expect("a word").to_owned(), value));
    named.collect()
}

fn words(value: &Value) -> Vec<String> {
    let all = value.as_sequence().into_iter().flatten();
    all.map(|word| word.as_str().expect("a text").to_owned())
        .collect()
}

/// Returns what an expression of a workflow stands for; only these are used.
fn evaluate(text: &str, inputs: &BTreeMap<&str, String>) -> String {
    let Some(expression) = text
        .strip_prefix("${{ ")
        .and_then(|text| text.strip_suffix(" }}"))
    else {
        assert!(!text.contains("${{"), "{text} is more than one expression");
        return text.to_owned();
    };
    match expression {
        "secrets.BKPCTL_LOOK_KEY" | "secrets.BKPCTL_APPLY_KEY" => KEY.to_owned(),
        "github.token" => TOKEN.to_owned(),
        "github.event.pull_request.number" => NUMBER.to_owned(),
        "inputs.digest" | "inputs.allow" => inputs.get(expression).cloned().unwrap_or_default(),
        other => panic!("the kit uses {other}, which is not known here"),
    }
}

/// Returns the steps of a job that are commands; other people's actions are only a checkout.
pub(super) fn steps(
    kind: Kind,
    document: &Value,
    job: &str,
    inputs: &BTreeMap<&str, String>,
) -> Vec<Step> {
    if kind == Kind::GitLab {
        let before = words(&document["default"]["before_script"]);
        let script = [before, words(&document[job]["script"])]
            .concat()
            .join("\n");
        let env = inputs.iter().map(|(name, value)| {
            let name = name.rsplit('.').next().unwrap_or_default().to_uppercase();
            (name, value.clone())
        });
        return vec![Step {
            name: job.to_owned(),
            script,
            env: env.collect(),
        }];
    }
    let mut steps = Vec::new();
    for step in document["jobs"][job]["steps"].as_sequence().expect("steps") {
        if let Some(uses) = step["uses"].as_str() {
            assert!(
                uses.contains("actions/checkout@"),
                "{uses} is somebody else's code"
            );
            assert_eq!(step["with"]["persist-credentials"].as_bool(), Some(false));
            continue;
        }
        let shell = step["shell"]
            .as_str()
            .or(document["defaults"]["run"]["shell"].as_str());
        assert_eq!(shell, Some("bash"));
        let env = map(&step["env"]).into_iter();
        let env =
            env.map(|(name, value)| (name, evaluate(value.as_str().expect("a text"), inputs)));
        steps.push(Step {
            name: step["name"].as_str().expect("a name").to_owned(),
            script: step["run"].as_str().expect("a command").to_owned(),
            env: env.collect(),
        });
    }
    steps
}

/// A repository with a pull request, what its runner has, and the forge's API.
pub(super) struct Scene {
    kind: Kind,
    pub(super) sandbox: Sandbox,
    pub(super) forge: Forge,
    /// What was run, to know that nothing was left out.
    pub(super) ran: BTreeSet<String>,
    /// Variables that differ from what they are by themselves.
    pub(super) extra: Vec<(&'static str, String)>,
}

impl Scene {
    /// Has `main`, and beside it `topic`, which keeps more; `topic` is checked out.
    pub(super) fn new(kind: Kind) -> Self {
        let sandbox = one_machine::sandbox(&formatted(ONE_MACHINE));
        let scene = Self {
            kind,
            forge: Forge::start(State {
                bot: kind.bot().to_owned(),
                token: TOKEN.to_owned(),
                program: format!("#!/bin/sh\nexec '{PROGRAM}' \"$@\"\n"),
                ..State::default()
            }),
            sandbox,
            ran: BTreeSet::new(),
            extra: Vec::new(),
        };
        // What an image lacks is here already.
        scene.stand_in("apt-get", "echo apt-get \"$@\"");
        scene
            .sandbox
            .git(&["init", "--quiet", "--initial-branch=main"]);
        scene.commit();
        scene
            .sandbox
            .git(&["update-ref", "refs/remotes/origin/main", "main"]);
        scene.sandbox.git(&["checkout", "--quiet", "-b", "topic"]);
        scene.edit("keep last=3 }\nsource", "keep last=5 }\nsource");
        scene.commit();
        scene
    }

    pub(super) fn stand_in(&self, name: &str, script: &str) {
        let path = self.sandbox.write(
            &format!("stand-ins/{name}"),
            format!("#!/bin/sh\n{script}\n"),
        );
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    pub(super) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.sandbox.join("topology.kdl")).expect("a topology");
        assert!(text.contains(from), "{from} is not in {text}");
        self.sandbox.write("topology.kdl", text.replace(from, to));
    }

    pub(super) fn commit(&self) {
        self.sandbox.git(&["add", "topology.kdl"]);
        self.sandbox
            .git(&["commit", "--quiet", "--message", "a state"]);
    }

    /// Merges the pull request, as the forge knows from then on.
    pub(super) fn merge(&self) {
        self.sandbox.git(&["checkout", "--quiet", "main"]);
        self.sandbox.git(&[
            "merge",
            "--quiet",
            "--no-ff",
            "--message",
            "merged",
            "topic",
        ]);
        let merge = self.sandbox.git(&["rev-parse", "HEAD"]);
        self.forge.set(|state| state.merge = merge);
    }

    /// Runs a job to its end, or to the first step that fails.
    pub(super) fn job(&mut self, job: &str) -> Ran {
        self.job_with(job, &[])
    }

    pub(super) fn job_with(&mut self, job: &str, inputs: &[(&'static str, &str)]) -> Ran {
        let inputs = inputs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let document = self.kind.document();
        let runner = self.sandbox.join("runner");
        let _ = fs::remove_dir_all(&runner);
        fs::create_dir(&runner).expect("a folder");
        let mut all = Ran {
            code: 0,
            stdout: String::new(),
            stderr: String::new(),
        };
        let mut added = BTreeMap::new();
        for step in steps(self.kind, &document, job, &inputs) {
            self.ran.insert(format!("{job}/{}", step.name));
            let ran = self.step(&document, &step, &mut added);
            all.stdout.extend(["== ", &step.name, "\n", &ran.stdout]);
            all.stderr += &ran.stderr;
            all.code = ran.code;
            if ran.code != 0 {
                break;
            }
        }
        all
    }

    fn step(&self, document: &Value, step: &Step, added: &mut BTreeMap<String, String>) -> Ran {
        let script = self.sandbox.write("runner/script", &step.script);
        let runner = self.sandbox.join("runner");
        let lines = |name: &str| fs::read_to_string(runner.join(name)).unwrap_or_default();
        let mut path = vec![self.sandbox.join("stand-ins")];
        path.extend(lines("path").lines().map(PathBuf::from));
        let system = std::env::var_os("PATH").expect("a PATH");
        path.extend(std::env::split_paths(&system));
        let mut command = Command::new("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(script)
            .current_dir(self.sandbox.path())
            .env_clear()
            .env("HOME", self.sandbox.join("home"))
            .env("PATH", std::env::join_paths(path).expect("a PATH"))
            .stdin(Stdio::null());
        let variables = if self.kind == Kind::GitLab {
            "variables"
        } else {
            "env"
        };
        for (name, value) in map(&document[variables]) {
            command.env(name, value.as_str().expect("a text"));
        }
        let url = format!("{}/bkpctl", self.forge.url);
        let program = self
            .forge
            .state
            .lock()
            .expect("nobody panics")
            .program
            .clone();
        command
            .env("BKPCTL_URL", url)
            .env("BKPCTL_SHA256", sha256(&program));
        let key = self.sandbox.write("runner/key", format!("{KEY}\n"));
        let head = self.sandbox.git(&["rev-parse", "HEAD"]);
        let base = self.sandbox.git(&["merge-base", "HEAD", "origin/main"]);
        if self.kind == Kind::GitLab {
            command
                .env("BKPCTL_LOOK_KEY", &key)
                .env("BKPCTL_APPLY_KEY", &key)
                .env("BKPCTL_NOTE_TOKEN", TOKEN)
                .env("CI_API_V4_URL", format!("{}/api/v4", self.forge.url))
                .env("CI_PROJECT_ID", "11")
                .env("CI_MERGE_REQUEST_IID", NUMBER)
                .env("CI_MERGE_REQUEST_DIFF_BASE_SHA", base)
                .env("CI_COMMIT_SHA", head);
        } else {
            command
                .env("GITHUB_API_URL", &self.forge.url)
                .env("GITHUB_REPOSITORY", "us/lab")
                .env("GITHUB_BASE_REF", "main")
                .env("GITHUB_SHA", head)
                .env("GITHUB_PATH", runner.join("path"))
                .env("GITHUB_ENV", runner.join("env"))
                .env("GITHUB_STEP_SUMMARY", runner.join("summary"))
                .env("RUNNER_TEMP", &runner);
        }
        command.envs(&*added).envs(&step.env);
        command.envs(self.extra.iter().map(|(name, value)| (name, value)));
        let ran = Ran::of(&command.output().expect("bash runs"));
        for line in lines("env").lines() {
            let (name, value) = line.split_once('=').expect("NAME=VALUE");
            added.insert(name.to_owned(), value.to_owned());
        }
        ran
    }
}

/// Returns a text in its form.
fn formatted(text: &str) -> String {
    let formatted = bkpctl::config::format_text("topology.kdl", text, false);
    formatted.files[0].after.clone().expect("it has a form")
}

fn sha256(text: &str) -> String {
    let sandbox = Sandbox::new();
    let file = sandbox.write("file", text);
    let output = Command::new("sha256sum")
        .arg(file)
        .output()
        .expect("sha256sum runs");
    let output = String::from_utf8(output.stdout).expect("text");
    output.split(' ').next().expect("a sum").to_owned()
}

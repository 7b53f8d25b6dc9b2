//! The kits for CI in `examples/ci`: every step of every job is run as its forge would run it, with
//! the real bkpctl, a repository, and a stand-in for the forge's API.

mod forge;
mod scene;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use self::forge::Comment;
use self::scene::{KEY, KINDS, Kind, Scene, TOKEN, map, steps};
use crate::support::sandbox::Ran;

/// Returns the digest that a comment ends with.
fn digest(comment: &Comment) -> String {
    let foot = comment.body.trim_end().lines().last().expect("a foot");
    foot.split('`').nth(1).expect("a digest").to_owned()
}

#[test]
fn a_pull_request_is_checked_planned_and_commented_on_in_one_place_and_its_merge_is_applied() {
    for kind in KINDS {
        let mut scene = Scene::new(kind);
        let ran = scene.job("check").exits(0).says("keep last");
        assert!(
            ran.stdout.contains("one is valid"),
            "{kind:?}: {}",
            ran.stdout
        );
        // Somebody else has written something that looks like the plan's comment.
        let foreign = format!(
            "<!-- bkpctl plan one -->\n`{}` · bkpctl 0\n",
            "f".repeat(64)
        );
        scene.forge.set(|state| {
            // There is a page full of comments before it.
            state.comments = (0..120)
                .map(|id| Comment {
                    id,
                    author: "somebody".to_owned(),
                    body: foreign.clone(),
                })
                .collect();
        });
        scene
            .job("plan")
            .exits(0)
            .says("What would change is in the");
        assert_eq!(scene.forge.comments().len(), 121, "{kind:?}");
        let first = scene.forge.comments().pop().expect("the plan");
        assert!(
            first.body.starts_with("<!-- bkpctl plan one -->\n"),
            "{}",
            first.body
        );
        assert!(first.body.contains("first"), "{}", first.body);

        scene.edit("path=\"second\"", "path=\"third\"");
        scene.commit();
        scene.forge.take_requests();
        scene.job("plan").exits(0);
        let comments = scene.forge.comments();
        assert_eq!(
            comments.len(),
            121,
            "{kind:?}: {:?}",
            scene.forge.take_requests()
        );
        assert_eq!(
            (comments[120].id, comments[0].body == foreign),
            (first.id, true)
        );
        assert!(
            comments[120].body.contains("third"),
            "{}",
            comments[120].body
        );

        scene.merge();
        let ran = scene.job("apply").exits(0).says("Applied.");
        assert!(
            scene.sandbox.join("third").is_dir(),
            "{kind:?}: {}",
            ran.stdout
        );
        scene.job("nightly").exits(0).says("as it was applied.");
        fs::remove_dir_all(scene.sandbox.join("third")).expect("it goes");
        scene
            .job("nightly")
            .exits(2)
            .says("is not as it was applied");
        // What would mend it was not reviewed.
        scene.job("apply").exits(5).says("is not what was reviewed");
        assert_eq!(
            scene.ran,
            all_steps(kind),
            "a step of the kit was never run"
        );
    }
}

/// Returns every command of a kit, as job and name.
fn all_steps(kind: Kind) -> BTreeSet<String> {
    let document = kind.document();
    let jobs: Vec<String> = if kind == Kind::GitLab {
        let jobs = map(&document).into_iter();
        let jobs = jobs.filter(|(_, job)| job["script"].is_sequence());
        jobs.map(|(name, _)| name).collect()
    } else {
        map(&document["jobs"])
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(jobs, ["check", "plan", "apply", "nightly"]);
    let named = |job: &String| {
        let steps = steps(kind, &document, job, &BTreeMap::new()).into_iter();
        steps
            .map(|step| format!("{job}/{}", step.name))
            .collect::<Vec<_>>()
    };
    jobs.iter().flat_map(named).collect()
}

#[test]
fn what_nobody_reviewed_is_not_applied_unless_a_person_names_its_digest() {
    for kind in KINDS {
        let mut scene = Scene::new(kind);
        scene.merge();
        // A stranger's comment is no review.
        let plan = scene.sandbox.run(&["plan", "--md"]).exits(0).stdout;
        let stranger = Comment {
            id: 1,
            author: "stranger".to_owned(),
            body: plan,
        };
        let right = digest(&stranger);
        scene.forge.set(|state| state.comments.push(stranger));
        scene.job("apply").exits(1).says("No plan was reviewed");
        for wrong in [
            "f".repeat(64),
            "$(touch owned)".to_owned(),
            format!("{right}; touch owned"),
        ] {
            let ran = scene.job_with("apply", &[("inputs.digest", &wrong)]);
            assert!(
                [1, 5].contains(&ran.code),
                "{kind:?} {wrong}: {}",
                ran.stdout
            );
        }
        assert!(
            !scene.sandbox.join("first").exists(),
            "something was applied"
        );
        assert!(!scene.sandbox.join("owned").exists(), "an input was run");
        let inputs = [
            ("inputs.digest", right.as_str()),
            ("inputs.allow", "datastore.first:owner *"),
        ];
        scene.job_with("apply", &inputs).exits(0).says("Applied.");
    }
}

#[test]
fn a_mistake_in_a_pull_request_and_what_is_not_in_form_fail_its_check() {
    for kind in KINDS {
        let mut scene = Scene::new(kind);
        scene.edit("last=5", "last=\"five\"");
        scene.job("check").exits(1).says("error[BK");
        scene.edit("last=\"five\"", "  last=5");
        scene.job("check").exits(1).says("would change");
    }
}

#[test]
fn a_branch_is_a_name_and_nothing_that_a_shell_runs() {
    for kind in [Kind::GitHub, Kind::Forgejo] {
        let mut scene = Scene::new(kind);
        scene
            .forge
            .set(|state| state.program = "#!/bin/sh\necho \"$@\"\n".to_owned());
        let name = "a$(touch${IFS}owned)`touch${IFS}owned`;touch${IFS}owned";
        scene.extra.push(("GITHUB_BASE_REF", name.to_owned()));
        scene
            .job("check")
            .exits(0)
            .says(&format!("origin/{name}...HEAD"));
        assert!(
            !scene.sandbox.join("owned").exists(),
            "a branch's name was run"
        );
    }
}

/// Runs a job with a stand-in for bkpctl that prints something and exits with a code.
fn with_code(scene: &mut Scene, job: &str, code: i32, prints: &str) -> Ran {
    let program =
        format!("#!/bin/sh\n[ \"$1\" = status ] || printf '%s' '{prints}'\nexit {code}\n");
    scene.forge.set(|state| state.program = program);
    let inputs = [("inputs.digest", "0123456789abcdef")];
    scene.job_with(job, if job == "apply" { &inputs } else { &[] })
}

#[test]
fn every_exit_code_of_bkpctl_becomes_a_word_and_the_right_end_of_the_job() {
    for kind in KINDS {
        let mut scene = Scene::new(kind);
        // A wait that no test has time for.
        scene.stand_in("sleep", "echo sleep \"$@\"");
        for (job, code, ends, says) in [
            ("plan", 0, 0, "Nothing would change"),
            ("plan", 2, 0, "What would change"),
            ("plan", 3, 3, "not reached"),
            ("plan", 4, 4, "policy"),
            ("plan", 1, 1, "has errors"),
            ("apply", 0, 0, "Applied."),
            ("apply", 1, 1, "the lines above say why"),
            ("apply", 3, 3, "not reached"),
            ("apply", 4, 4, "policy"),
            ("apply", 5, 5, "not what was reviewed"),
            ("apply", 6, 6, "apply --resume"),
            ("apply", 7, 7, "sleep 120"),
            ("nightly", 0, 0, "as it was applied"),
            ("nightly", 1, 1, "failed"),
            ("nightly", 2, 2, "not as it was applied"),
            ("nightly", 3, 3, "not reached"),
        ] {
            let ran = with_code(&mut scene, job, code, "<!-- bkpctl plan one -->");
            assert_eq!(
                ran.code, ends,
                "{kind:?} {job} {code}: {}{}",
                ran.stdout, ran.stderr
            );
            assert!(
                ran.stdout.contains(says),
                "{kind:?} {job} {code}: {}",
                ran.stdout
            );
        }
        assert_eq!(
            scene.forge.comments().len(),
            1,
            "each plan is in the one comment"
        );
        scene.forge.take_requests();
        assert_eq!(with_code(&mut scene, "plan", 1, "").code, 1);
        assert_eq!(
            scene.forge.take_requests(),
            ["GET /bkpctl"],
            "nothing to say is not said"
        );
    }
}

#[test]
fn what_a_stranger_proposes_gets_no_secret_no_right_to_write_and_no_way_into_a_shell() {
    for kind in KINDS {
        let text = fs::read_to_string(kind.file()).expect("a kit");
        assert!(!text.contains("pull_request_target") && !text.contains("workflow_run"));
        let document = kind.document();
        for job in ["check", "plan", "apply", "nightly"] {
            for step in steps(kind, &document, job, &BTreeMap::new()) {
                let inside = step.script.contains("${{") || step.script.contains("eval ");
                assert!(!inside, "{}: {}", step.name, step.script);
                let is_checked = job == "check";
                let secret = step
                    .env
                    .values()
                    .any(|value| value == KEY || value == TOKEN)
                    || ["_KEY", "TOKEN"]
                        .iter()
                        .any(|name| step.script.contains(name));
                assert!(
                    !(is_checked && secret),
                    "{kind:?}: the check is given a secret"
                );
            }
        }
        if kind == Kind::GitLab {
            let rule = |job: &str| {
                document[job]["rules"][0]["if"]
                    .as_str()
                    .expect("a rule")
                    .to_owned()
            };
            assert!(rule("plan").contains("$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID"));
            assert!(rule("apply").starts_with("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH && "));
            continue;
        }
        let jobs = &document["jobs"];
        let condition = |job: &str| jobs[job]["if"].as_str().expect("a condition").to_owned();
        assert!(condition("plan").contains("head.repo.full_name == github.repository"));
        assert!(condition("apply").starts_with("github.ref == 'refs/heads/main' && ("));
        if kind == Kind::GitHub {
            assert_eq!(map(&document["permissions"]).len(), 1);
            assert_eq!(document["permissions"]["contents"].as_str(), Some("read"));
            let writes = text.matches(": write").count();
            assert_eq!(
                (
                    writes,
                    jobs["plan"]["permissions"]["pull-requests"].as_str()
                ),
                (1, Some("write"))
            );
        }
    }
}

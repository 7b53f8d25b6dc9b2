use proptest::prelude::*;

use super::*;
use crate::transport::{Fake, Local, Output};

const LIMITS: Limits = Limits {
    whole: Duration::from_secs(20),
    path: Duration::from_secs(2),
    estimate: Some(Duration::from_secs(2)),
};

fn refused(change: impl FnOnce(&mut Wanted)) -> String {
    let mut wanted = everything();
    change(&mut wanted);
    let never = Fake::new("node", |_| panic!("nothing may run"));
    let asked = ask(&wanted, LIMITS);
    let error = answer(&asked, &never, &|| Timestamp(0)).expect_err("refused");
    error.to_string()
}

#[test]
fn the_same_facts_arrive_as_from_the_probe_itself() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wanted = everything();
    wanted.sudo = false;
    let path = dir.path().to_str().expect("utf-8").to_owned();
    wanted.paths = vec![path.clone()];
    wanted.datastores[0].path.clone_from(&path);
    wanted.sources[0].paths = vec![path];
    let local = Local::new();
    let after = Timestamp(5_000_000);
    let direct = local.run(&probe::script(&wanted, LIMITS)).expect("it runs");
    let direct = probe::parse(&direct.stdout, &wanted, "v".into(), after).expect("whole");
    let answer = answer(&ask(&wanted, LIMITS), &local, &|| after).expect("answered");
    let mut sent = facts(&answer, &wanted, "v", after)
        .expect("facts")
        .expect("understood");
    assert!(sent.login.only_looks);
    sent.login.only_looks = false;
    // Time has gone by between the two.
    (sent.clock, sent.skew_ms) = (direct.clock, direct.skew_ms);
    let mut direct = direct;
    for facts in [&mut sent, &mut direct] {
        for path in facts.paths.values_mut() {
            path.space = None;
        }
        let found = facts.discovered.iter_mut();
        for filesystem in found.flat_map(|found| &mut found.filesystems) {
            filesystem.space = None;
        }
    }
    assert_eq!(sent, direct);
    assert!(facts(b"clock 1\n1\n", &wanted, "v", after).is_none());
}

#[test]
fn of_a_journal_only_its_lines_are_sent() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let mut folder = everything().folder.expect("a folder");
    folder.base = Some(base.path().to_str().expect("utf-8").to_owned());
    let file = base.path().join("t/n/journal.ndjson");
    std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
    let line = r#"{"v":1,"time":"2026-01-02T03:04:05.000Z","event":"done","words":"x"}"#;
    std::fs::write(&file, format!("secret\n{line}\nsecret")).expect("written");
    let never = || panic!("no time is needed");
    let answer = answer(&ask_journal(&folder), &Local::new(), &never).expect("answered");
    assert!(!String::from_utf8_lossy(&answer).contains("secret"));
    let sent = journal(&answer).expect("a journal").expect("understood");
    assert_eq!((sent.lines.len(), sent.broken, sent.torn), (1, 1, true));
    assert!(journal(b"journal.end 0\n\n").is_none());

    folder.base = Some("etc".to_owned());
    let fake = Fake::new("node", |_| panic!("nothing may run"));
    let refused = super::answer(&ask_journal(&folder), &fake, &never).expect_err("refused");
    assert!(refused.to_string().contains("no path"), "{refused}");
}

#[test]
fn what_no_probe_looks_at_is_refused_before_anything_runs() {
    for (bad, word) in [
        ("etc/shadow", "no path"),
        ("", "no path"),
        ("/a\n; id", "no path"),
        ("/a\0", "no path"),
        ("-x", "no path"),
    ] {
        assert!(
            refused(|w| w.paths[0] = bad.into()).contains(word),
            "{bad:?}"
        );
        assert!(refused(|w| w.datastores[0].path = bad.into()).contains(word));
        assert!(refused(|w| w.sources[0].paths[0] = bad.into()).contains(word));
        assert!(
            refused(|w| {
                if let Some(folder) = &mut w.folder {
                    folder.base = Some(bad.into());
                }
            })
            .contains(word)
        );
    }
    for bad in ["", "-h", "root.*:", "a b", "$(id)", "a:b", "ü"] {
        assert!(
            refused(|w| w.users[0] = bad.into()).contains("no user"),
            "{bad:?}"
        );
    }
    for bad in ["", "-v", "a\nb"] {
        assert!(refused(|w| w.tools[0] = bad.into()).contains("no program"));
    }
    let long = format!("/{}", "x".repeat(TEXT_MAX));
    assert!(refused(|w| w.paths[0] = long).contains("no path"));
    assert!(refused(|w| w.containers = vec![1; THINGS_MAX + 1]).contains("more than"));
}

#[test]
fn what_is_no_question_is_refused_without_repeating_it() {
    let never = Fake::new("node", |_| panic!("nothing may run"));
    let good = ask(&everything(), LIMITS);
    let more = good.replace("\"whole_ms\"", "\"run\":\"rm -rf /\",\"whole_ms\"");
    let other = good.replace(manner(), "0000000000000000");
    let name = good.replace("\"topology\":\"t\"", "\"topology\":\"../../etc\"");
    for (text, words) in [
        ("", "not understood"),
        ("{}", "not understood"),
        ("[[[[", "not understood"),
        ("\"secret\"", "not understood"),
        (&more, "not understood"),
        (&name, "not understood"),
        (&other, "as bkpctl bootstrap says"),
    ] {
        let error = answer(text, &never, &|| Timestamp(0)).expect_err(text);
        let said = error.to_string();
        assert!(said.contains(words), "{said}");
        assert!(
            !said.contains("secret") && !said.contains("rm -rf"),
            "{said}"
        );
    }
}

#[test]
fn hostile_but_possible_names_are_data() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let canary = dir.path().join("canary");
    let hostile = format!(
        "/tmp/'\"`touch {0}`$(touch {0});touch {0} #",
        canary.display()
    );
    let mut wanted = everything();
    wanted.paths.push(hostile.clone());
    wanted.datastores[0].path.clone_from(&hostile);
    wanted.sources[0].paths[0].clone_from(&hostile);
    wanted.tools.push(hostile.trim_start_matches('/').into());
    wanted.folder.as_mut().expect("one").base = Some(hostile);
    answer(&ask(&wanted, LIMITS), &Local::new(), &|| Timestamp(0)).expect("harmless");
    assert!(!canary.exists());
}

#[test]
fn an_answer_that_is_not_the_one_asked_for_is_refused() {
    let wanted = everything();
    let read = |json: &str| {
        let record = format!("facts {}\n{json}\n", json.len());
        facts(record.as_bytes(), &wanted, "v", Timestamp(0)).expect("facts")
    };
    assert!(read("{").is_err());
    let empty = serde_json::to_string(&NodeFacts::default()).expect("json");
    assert!(read(&empty).is_err(), "nothing of what was asked");
}

#[test]
fn no_file_content_leaves_beside_facts() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let secret = "a-secret-of-somebody";
    for file in [
        "bkpctl.json",
        "managed.json",
        "snapshots/s/20261123T120000.000Z-ab",
        "proofs/p/20261123T120000.000Z-ab.json",
        "t/n/registry.json",
    ] {
        let file = dir.path().join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, format!("\"{secret}\"\n")).expect("written");
    }
    let path = dir.path().to_str().expect("utf-8").to_owned();
    let mut wanted = everything();
    wanted.folder.as_mut().expect("one").base = Some(path.clone());
    wanted.paths = vec![path.clone()];
    wanted.datastores[0].path.clone_from(&path);
    wanted.sources[0].paths = vec![path];
    let answer = answer(&ask(&wanted, LIMITS), &Local::new(), &|| Timestamp(0)).expect("answered");
    let text = String::from_utf8(answer).expect("json");
    assert!(text.contains("not a marker"), "{text}");
    assert!(!text.contains(secret), "{text}");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_never_runs(text: String) {
        let fake = Fake::new("node", |_| Ok(Output::default()));
        let _ = answer(&text, &fake, &|| Timestamp(0));
        let _ = facts(text.as_bytes(), &everything(), "v", Timestamp(0));
    }
}

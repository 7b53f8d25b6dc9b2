use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::model::observed::{ComponentKind, Outcome};
use crate::model::{ByteSize, Name};
use crate::observe::wanted::{Folder, WantedDatastore, WantedSource};

const LIMITS: Limits = Limits {
    whole: Duration::from_secs(30),
    path: Duration::from_secs(2),
    estimate: Some(Duration::from_secs(2)),
};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A tree with a datastore and a source, and what there is to know of it.
struct Scene {
    dir: tempfile::TempDir,
    wanted: Wanted,
}

impl Scene {
    fn path(&self, below: &str) -> String {
        self.dir
            .path()
            .join(below)
            .to_str()
            .expect("utf-8")
            .to_owned()
    }

    fn write(&self, below: &str, text: &str) {
        let file = self.dir.path().join(below);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
    }

    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut scene = Self {
            dir,
            wanted: Wanted::default(),
        };
        let odd = "a folder with 'quotes', $(id) and\na line break";
        let head = r#"{"format":1,"id":"ID","source":"etc","writer":"w","started":1,"finished":2,"complete":true,"files":3,"bytes":4,"new_bytes":5,"stored_bytes":6,"machine":"m","refs":"00","skipped":0}"#;
        for hour in 10..22 {
            let text = format!(
                "{}\nmac\n\u{1}sealed",
                head.replace("ID", &format!("id{hour}"))
            );
            scene.write(
                &format!("store/snapshots/etc/20261123T{hour}0000.000Z-ab"),
                &text,
            );
        }
        scene.write(
            "store/bkpctl.json",
            r#"{"format":1,"repository":"r","home":"h","domain":"d"}"#,
        );
        scene.write("store/managed.json", "{broken");
        scene.write(
            "store/proofs/proof/20261123T120000.000Z-ab.json",
            r#"{"drill":"proof","source":"etc","snapshot":"id10","at":5,"passed":true,"files":1,"bytes":2,"took_ms":3}"#,
        );
        scene.write("store/packs/ab/pack", "x");
        scene.write("source/file", &"y".repeat(100_000));
        scene.write(&format!("{odd}/file"), "z");
        fs::create_dir(scene.path("empty")).expect("made");
        fs::create_dir_all(scene.path("begun/packs")).expect("made");
        fs::create_dir_all(scene.path("begun/lost+found")).expect("made");
        scene.write("begun/tmp/lock", "");
        scene.write("begun/tmp/0123/marker", "{");
        scene.write("foreign/tmp/file", "z");
        scene.write("other/snapshots/one", "z");
        scene.write("other/tmp/lock", "");
        symlink(scene.path("store"), scene.path("link")).expect("linked");
        fs::set_permissions(scene.path("source"), fs::Permissions::from_mode(0o711))
            .expect("changed");
        let hash = "0".repeat(64);
        scene.write(&format!("state/lab/here/bin/bkpctl-{hash}"), "#!");
        let binary = scene.path(&format!("state/lab/here/bin/bkpctl-{hash}"));
        fs::set_permissions(binary, fs::Permissions::from_mode(0o755)).expect("changed");
        scene.write(
            "state/lab/here/registry.json",
            r#"{"objects":{"datastore.main":"a folder"}}"#,
        );
        let paths = [
            "store",
            "link",
            "source",
            "empty",
            odd,
            "absent/below",
            "source/file",
            "begun",
            "foreign",
            "other",
        ];
        scene.wanted = Wanted {
            folder: Some(Folder {
                base: Some(scene.path("state")),
                topology: name("lab"),
                node: name("here"),
            }),
            sudo: false,
            users: vec!["root".into(), "no-such-user".into()],
            tools: vec!["sh".into(), "no such tool".into()],
            paths: paths.iter().map(|below| scene.path(below)).collect(),
            datastores: vec![WantedDatastore {
                name: name("main"),
                path: scene.path("store"),
                owner: None,
                measured: false,
            }],
            sources: vec![
                WantedSource {
                    name: name("etc"),
                    paths: vec![scene.path("source"), scene.path(odd)],
                    is_volume: false,
                    one_file_system: true,
                },
                WantedSource {
                    name: name("image"),
                    paths: vec![],
                    is_volume: true,
                    one_file_system: false,
                },
            ],
            addresses: true,
            exports: true,
            files: vec![scene.path("source/file"), scene.path("absent")],
            routes: vec![
                "127.0.0.1".into(),
                "localhost".into(),
                "no-such.invalid".into(),
            ],
            disks: vec!["0000-no-such-disk".into()],
            containers: vec![105],
            storage: true,
            discovery: false,
        };
        scene
    }

    fn look(&self, shell: &[&str], path: Option<&Path>) -> NodeFacts {
        let script = script(&self.wanted, LIMITS);
        let mut command = Command::new(shell[0]);
        command
            .args(&shell[1..])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut child = command.spawn().expect("the shell starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        write!(stdin, "(\n{}\n) </dev/null\n", script.text).expect("the shell reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the shell ends");
        parse(&output.stdout, &self.wanted, "here".into(), Timestamp(0)).expect("a whole answer")
    }
}

fn check(scene: &Scene, facts: &NodeFacts) {
    let path = |below: &str| &facts.paths[&scene.path(below)];
    let me = rustix::process::geteuid().as_raw();

    assert!(!facts.hostname.is_empty() && !facts.arch.is_empty());
    assert!(facts.clock.seconds() > 1_700_000_000);
    assert_eq!((facts.login.uid, facts.login.privileged), (me, me == 0));
    assert_eq!(facts.users.keys().collect::<Vec<_>>(), ["root"]);
    assert!(facts.tools["sh"]);
    assert!(!facts.tools["no such tool"]);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("it is told");
    assert_eq!(facts.versions.kernel.as_deref(), Some(kernel.trim()));
    let is_own = |address: &std::net::IpAddr| address.is_loopback();
    let sees_addresses = facts.addresses.is_empty() || facts.addresses.iter().any(is_own);
    assert!(sees_addresses, "{:?}", facts.addresses);
    assert!(facts.containers.is_empty(), "this is no host of containers");
    assert_eq!(facts.pve, None);

    let last = path("source").last().expect("it is there");
    assert_eq!(
        (last.kind, last.mode, last.uid),
        (ComponentKind::Directory, 0o711, me)
    );
    assert_eq!(last.path, scene.path("source"));
    assert_eq!(path("source").components[0].path, "/");
    assert_eq!(
        path("source").empty,
        None,
        "a source's entries are not listed"
    );
    assert_eq!(path("empty").empty, Some(true));
    assert_eq!(path("begun").empty, Some(true));
    assert_eq!(path("foreign").empty, Some(false));
    assert_eq!(path("other").empty, Some(false));
    assert_eq!(
        path("source/file").last().map(|last| last.kind),
        Some(ComponentKind::File)
    );
    assert_eq!(path("source/file").empty, None);
    assert_eq!(
        path("link").last().map(|last| last.path.clone()),
        Some(scene.path("store"))
    );
    let absent = path("absent/below");
    assert_eq!(absent.outcome, Outcome::Missing);
    assert_eq!(
        absent.components.last().map(|last| last.path.as_str()),
        scene.dir.path().to_str()
    );
    // A file is read, one that is absent is none, and nothing that is not there is made up.
    assert_eq!(
        facts.files.keys().collect::<Vec<_>>(),
        [&scene.path("source/file")]
    );
    if let Some(own) = facts.routes.get("127.0.0.1") {
        assert!(own.is_loopback());
    }
    assert!(!facts.routes.contains_key("no-such.invalid") && facts.disks.is_empty());
    for facts in facts.paths.values() {
        assert!(facts.mount.is_some());
        let space = facts.space.expect("every path is on a filesystem");
        assert!(space.total.0 > 0 && space.free.0 <= space.total.0);
    }
    assert_eq!(facts.paths.len(), 11, "the state folder is looked at too");

    assert_eq!(facts.state.folder, scene.path("state/lab/here"));
    assert_eq!(facts.state.binaries, ["0".repeat(64)]);
    assert_eq!(
        facts
            .state
            .registry
            .as_ref()
            .map(|registry| registry.objects.len()),
        Some(1)
    );

    let store = &facts.datastores["main"];
    assert_eq!(
        store.marker.as_ref().map(|marker| marker.id.as_str()),
        Some("r")
    );
    assert_eq!(store.managed, None);
    let ids: Vec<&str> = store.snapshots["etc"]
        .iter()
        .map(|head| head.id.as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "id21", "id20", "id19", "id18", "id17", "id16", "id15", "id14"
        ]
    );
    assert_eq!(store.counts["etc"], 12);
    // Two days, of which the newest snapshots say how much came.
    let days: Vec<_> = store.history["etc"]
        .iter()
        .map(|day| {
            (
                day.day.to_string(),
                day.snapshots,
                day.bytes.0,
                day.stored.0,
            )
        })
        .collect();
    assert_eq!(days, [("2026-11-23T00:00:00Z".to_owned(), 12, 4, 6)]);
    assert_eq!(store.proofs.len(), 1);
    assert_eq!(store.foreign_entries, Some(0));
    assert_eq!(store.owner_may_write, Some(true));

    assert_eq!(facts.sources["etc"].readable, Some(true));
    let bytes = facts.sources["etc"]
        .bytes
        .expect("small trees are measured in time");
    assert!((100_000..1_000_000).contains(&bytes.0), "{bytes:?}");
    assert_eq!(facts.sources["image"].bytes, None);
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "a shell that is not there is reported as skipped"
)]
fn every_shell_sees_the_same() {
    let scene = Scene::new();
    for shell in [
        &["dash"][..],
        &["bash", "--posix"],
        &["bash"],
        &["busybox", "sh"],
    ] {
        if Command::new(shell[0])
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            eprintln!("skipped: {} is not installed", shell[0]);
            continue;
        }
        check(&scene, &scene.look(shell, None));
    }
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "a shell that is not there is reported as skipped"
)]
fn busybox_alone_is_enough() {
    let bin = tempfile::tempdir().expect("a temporary folder");
    let Ok(list) = Command::new("busybox").arg("--list").output() else {
        eprintln!("skipped: busybox is not installed");
        return;
    };
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists());
    let busybox = busybox.expect("it ran, so it is there");
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        symlink(&busybox, bin.path().join(applet)).expect("linked");
    }
    let scene = Scene::new();
    let shell = bin.path().join("sh");
    check(
        &scene,
        &scene.look(&[shell.to_str().expect("utf-8")], Some(bin.path())),
    );
}

/// Puts programs that say something before all others, and returns where to look for programs.
fn stubs(bin: &Path, programs: &[(&str, &str)]) -> String {
    for (name, text) in programs {
        let stub = bin.join(name);
        fs::write(&stub, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).expect("changed");
    }
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display())
}

#[test]
fn what_root_may_give_to_containers_is_asked_where_that_counts() {
    let scene = Scene::new();
    let bin = tempfile::tempdir().expect("a temporary folder");
    let path = stubs(bin.path(), &[("newuidmap", ""), ("newgidmap", "")]);
    let facts = scene.look(&["sh"], Some(Path::new(&path)));
    let there = ["/etc/subuid", "/etc/subgid"]
        .iter()
        .all(|file| fs::File::open(file).is_ok());
    let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let elsewhere = switch.lines().any(|line| line.trim().starts_with("subid"));
    assert_eq!(facts.id_grants.is_some(), there && !elsewhere);
}

#[test]
fn units_of_ours_are_asked_for_where_systemd_answers() {
    let unit = "/etc/systemd/system/bkpctl-test-of-a-probe.mount".to_owned();
    let mut scene = Scene::new();
    let text = |scene: &Scene| units::command(&scene.wanted.files);
    assert!(!text(&scene).contains("is-enabled"), "no file is a unit");
    scene.wanted.files.push(unit.clone());
    // The file itself is not there, and only what is there is asked for.
    assert!(scene.look(&["sh"], None).units.is_empty());
    let bin = tempfile::tempdir().expect("a temporary folder");
    let running =
        "case $1 in show) echo ActiveState=failed ;; is-enabled) echo disabled; exit 1 ;; esac";
    let hung = "case $1 in show) echo ActiveState=active ;; *) exec sleep 20 ;; esac";
    for (systemctl, expected) in [
        (running, Some((Some(false), true))),
        ("echo System has not been booted >&2; exit 1", None),
        (hung, Some((None, false))),
    ] {
        let path = stubs(bin.path(), &[("systemctl", systemctl)]);
        let there = scene.path("source/file");
        let script = text(&scene).replace(&shell_word_of(&unit), &shell_word_of(&there));
        let text = format!("{PRELUDE}within='timeout 2'\n{script}");
        let started = Instant::now();
        let output = Command::new("sh")
            .args(["-c", &text])
            .env("PATH", &path)
            .output()
            .expect("the shell runs");
        assert!(started.elapsed() < Duration::from_secs(10));
        let records = Records::read(&output.stdout).expect("well-formed");
        let seen = units::parse(&records, &scene.wanted.files);
        let seen = seen.get(&unit).map(|unit| (unit.enabled, unit.failed));
        assert_eq!(seen, expected, "{systemctl}");
    }
}

/// Quotes a path as the probe's scripts have it.
fn shell_word_of(path: &str) -> String {
    crate::transport::shell_assign("p", path)
}

#[test]
fn what_waits_for_a_deadline_keeps_no_output_open() {
    let scene = Scene::new();
    let patient = Limits {
        path: Duration::from_mins(1),
        estimate: Some(Duration::from_mins(1)),
        ..LIMITS
    };
    let text = script(&scene.wanted, patient).text;
    for shell in [&["dash"][..], &["bash"], &["busybox", "sh"]] {
        let mut command = Command::new(shell[0]);
        let piped = command.args(&shell[1..]).stdin(Stdio::piped());
        // A shell that is not there is reported by another test.
        let Ok(mut child) = piped.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
            continue;
        };
        let started = Instant::now();
        let mut stdin = child.stdin.take().expect("stdin is piped");
        write!(stdin, "(\n{text}\n) </dev/null\n").expect("the shell reads");
        drop(stdin);
        // Both ends are waited for, and sleepers that are left behind hold neither.
        let output = child.wait_with_output().expect("the shell ends");
        assert!(parse(&output.stdout, &scene.wanted, String::new(), Timestamp(0)).is_ok());
        let took = started.elapsed();
        assert!(took < Duration::from_secs(45), "{shell:?} took {took:?}");
    }
}

#[test]
fn a_path_that_hangs_is_left_behind_alone() {
    let scene = Scene::new();
    let bin = tempfile::tempdir().expect("a temporary folder");
    let hung = scene.path("source");
    let text = format!(
        "#!/bin/sh\nfor last; do :; done\n[ \"$last\" = '{hung}' ] && exec sleep 20\nexec /usr/bin/stat \"$@\"\n"
    );
    let stub = bin.path().join("stat");
    fs::write(&stub, text).expect("written");
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).expect("changed");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.path().display());
    let started = Instant::now();
    let facts = scene.look(&["sh"], Some(Path::new(&path)));
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(facts.paths[&hung].outcome, Outcome::Timeout);
    assert!(
        facts.paths[&hung].mount.is_some(),
        "the mount table is read without touching it"
    );
    assert_eq!(facts.paths[&scene.path("store")].outcome, Outcome::Ok);
    assert_eq!(facts.sources["etc"].bytes, None);
    assert_eq!(facts.sources["etc"].readable, None);
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "what cannot be tried here is reported as skipped"
)]
fn entries_of_others_and_a_denied_owner_are_seen() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let mut scene = Scene::new();
    scene.wanted.datastores[0].owner = Some((34, 34));
    let store = scene.path("store");
    let facts = scene.look(&["sh"], None);
    let before = &facts.datastores["main"];
    assert_eq!(before.owner_may_write, Some(false));
    assert!(
        before.foreign_entries > Some(10),
        "{:?}",
        before.foreign_entries
    );
    let example = before.foreign_example.as_deref().expect("there is one");
    assert!(example.ends_with(" 0:0"), "{example}");

    let chown = Command::new("chown")
        .args(["-R", "34:34", &store])
        .status()
        .expect("chown runs");
    assert!(chown.success());
    // A temporary folder lets only its owner through.
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let facts = scene.look(&["sh"], None);
    let after = &facts.datastores["main"];
    assert_eq!(
        (after.foreign_entries, after.owner_may_write),
        (Some(0), Some(true))
    );
    assert_eq!(after.foreign_example, None);
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "what cannot be tried here is reported as skipped"
)]
fn what_root_may_not_read_is_read_as_the_owner_of_its_folder() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let mut scene = Scene::new();
    scene.wanted.storage = false;
    scene.wanted.datastores[0].owner = Some((34, 34));
    scene.wanted.datastores[0].measured = true;
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let store = scene.path("store");
    let does = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).status();
        assert!(status.expect("it runs").success());
    };
    does("chown", &["-R", "34:34", &store]);
    // As an NFS server sees the root of its clients: without a right of its own.
    let squashed = [
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "sh",
    ];
    for mode in ["go=", "g=rX,o=", "u=rwX,go=rX"] {
        does("chmod", &["-R", mode, &store]);
        for shell in ["dash", "bash", "sh"] {
            let shell = [squashed[0], squashed[1], shell];
            let facts = scene.look(&shell, None);
            let seen = &facts.datastores["main"];
            let whole = scene.look(&["sh"], None);
            assert_eq!(seen, &whole.datastores["main"], "{mode} {shell:?}");
            assert_eq!(seen.counts[&name("etc")], 12);
            assert_eq!(seen.marker_problem, None);
            assert!(seen.bytes > Some(ByteSize(0)), "{:?}", seen.bytes);
        }
    }
    // What its owner may not read either stays unknown.
    does("chown", &["35:35", &scene.path("store/bkpctl.json")]);
    does("chmod", &["-R", "go=", &store]);
    let facts = scene.look(&squashed, None);
    assert!(facts.datastores["main"].marker_problem.is_some());
}

/// Asks the kernel whether uid 34 in group 34, and in group 50 if wanted, may make entries.
fn kernel_lets_in(folder: &str, in_group: bool) -> bool {
    let groups = if in_group {
        "--groups=34,50"
    } else {
        "--groups=34"
    };
    let arguments = [
        "--reuid=34",
        "--regid=34",
        groups,
        "sh",
        "-c",
        "[ -w \"$0\" ] && [ -x \"$0\" ]",
        folder,
    ];
    let status = Command::new("setpriv").args(arguments).status();
    status.expect("setpriv runs").success()
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "what cannot be tried here is reported as skipped"
)]
fn lists_on_the_way_are_seen_and_judged_as_the_kernel_does() {
    use crate::model::acl::{EXECUTE, Subject, WRITE};

    let scene = Scene::new();
    let store = scene.path("store");
    let set = |list: &str| {
        let done = Command::new("setfacl")
            .args(["-b", "-m", list, &store])
            .output();
        done.is_ok_and(|output| output.status.success())
    };
    if !rustix::process::geteuid().is_root() || !set("u:34:rwx") {
        eprintln!("skipped: no access control list can be set here");
        return;
    }
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    for list in [
        "u:34:rwx",
        "u:34:r-x",
        "u:34:rwx,m::r-x",
        "u:9:rwx",
        "g:34:rwx",
        "g:34:r-x,o::rwx",
        "g:50:rwx",
        "g:50:rwx,g:34:---",
        "g:50:---,o::rwx",
        "u:34:---,o::rwx,g:50:rwx",
    ] {
        assert!(set(list), "{list}");
        let facts = scene.look(&["sh"], None);
        let seen = &facts.paths[&store];
        let last = seen.last().expect("it is there");
        let acl = last
            .acl
            .as_ref()
            .unwrap_or_else(|| panic!("{list}: no list"));
        assert!(
            seen.components[..seen.components.len() - 1]
                .iter()
                .all(|above| above.acl.is_none())
        );
        for in_group in [false, true] {
            let is = |who: Subject| match who {
                Subject::Owner => last.uid == 34,
                Subject::User(uid) => uid == 34,
                Subject::OwningGroup => last.gid == 34,
                Subject::Group(gid) => gid == 34 || in_group && gid == 50,
                Subject::Everyone => true,
            };
            let ruling = acl.judge(is, WRITE | EXECUTE);
            assert_eq!(
                ruling.granted,
                kernel_lets_in(&store, in_group),
                "{list} {in_group} {ruling:?}"
            );
        }
    }
}

/// Stands for LVM's and ZFS's programs: prints what they printed once.
const STORAGE_STUB: &str = r#"#!/bin/sh
case ${0##*/}.$1 in
zfs.list) printf 'tank\t88799232\t380962816\t0\t0\t-\t85504\t/mnt/tank\n' ;;
zfs.get) printf 'tank\tacltype\tnfsv4\ntank\taclmode\trestricted\n' ;;
lvs.*) echo '{"report":[{"lv":[{"vg_name":"pve", "lv_name":"data", "lv_size":"314572800", "lv_attr":"twi-aotz--", "pool_lv":"", "data_percent":"81.50", "metadata_percent":"12.89", "lv_when_full":"queue", "lv_health_status":""}]}]}' ;;
vgs.*) echo '{"report":[{"vg":[{"vg_name":"pve", "vg_size":"624951296", "vg_free":"301989888"}]}]}' ;;
*) echo thin_pool_autoextend_threshold=100 ;;
esac
"#;

#[test]
#[expect(
    clippy::print_stderr,
    reason = "what cannot be tried here is reported as skipped"
)]
fn the_files_of_a_proxmox_node_are_read_and_its_folders_looked_at() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may put files of its own in the place of /etc");
        return;
    }
    let scene = Scene::new();
    let etc = scene.path("etc");
    let copied = Command::new("cp").args(["-a", "/etc", &etc]).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let storage = "dir: local\n\tpath /var/lib/absent\n\nnfs: nas\n\tpath NAS\n\tserver x\n";
    scene.write(
        "etc/pve/storage.cfg",
        &storage.replace("NAS", &scene.path("source")),
    );
    scene.write(
        "etc/pve/jobs.cfg",
        "vzdump: nightly\n\tall 1\n\tdumpdir /tmp\n",
    );
    scene.write(
        "etc/pve/qemu-server/100.conf",
        "name: a\nscsi0: local:vm-100-disk-0,size=2G",
    );
    scene.write(
        "etc/pve/lxc/105.conf",
        "hostname: b\nrootfs: local:105/x.raw,size=8G\n",
    );
    for program in ["lvs", "vgs", "lvmconfig", "zfs"] {
        scene.write(&format!("bin/{program}"), STORAGE_STUB);
        let stub = scene.path(&format!("bin/{program}"));
        fs::set_permissions(stub, fs::Permissions::from_mode(0o755)).expect("changed");
    }
    scene.write("module/zfs/version", "2.1.11");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", scene.path("bin"));
    let shell = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$0\" /etc && mount --bind \"$1\" /sys/module && exec sh",
        &etc,
        &scene.path("module"),
    ];
    let facts = scene.look(&shell, Some(Path::new(&path)));
    let pve = facts.pve.expect("it looks like one");
    let guests: Vec<_> = pve
        .guests
        .iter()
        .map(|guest| (guest.id, guest.disks.len()))
        .collect();
    assert_eq!(guests, [(100, 1), (105, 1)]);
    assert_eq!(pve.jobs.len(), 1);
    let mut folders: Vec<&str> = pve
        .folders
        .iter()
        .map(|folder| folder.path.as_str())
        .collect();
    folders.sort_unstable();
    let mut expected = [
        "/tmp",
        "/var/lib/absent",
        "/var/lib/vz",
        "/var/tmp",
        &scene.path("source"),
    ];
    expected.sort_unstable();
    assert_eq!(folders, expected);
    for folder in &pve.folders {
        assert!(
            folder.space.is_some() && folder.mount.is_some(),
            "{folder:?}"
        );
    }
    let lvm = facts.lvm.expect("it has one");
    assert_eq!(
        (lvm.volumes.len(), lvm.groups.len(), lvm.autoextend_at),
        (1, 1, Some(100))
    );
    let zfs = facts.zfs.expect("its module is there");
    let tank = zfs.dataset("tank").expect("it is listed");
    assert_eq!(tank.acl_mode.as_deref(), Some("restricted"));
    // What comes after it in the probe still knows which paths answered.
    assert_eq!(facts.sources["etc"].readable, Some(true));
}

#[test]
fn an_answer_without_its_end_is_refused() {
    let scene = Scene::new();
    let cut = parse(
        b"host.name 1\na\n",
        &scene.wanted,
        "here".into(),
        Timestamp(0),
    );
    assert_eq!(cut.map(|_| ()), Err(Malformed(14)));
}

proptest! {
    #[test]
    fn no_answer_makes_parsing_panic(
        pairs in proptest::collection::vec(
            (
                prop::sample::select(vec![
                    "host.os", "host.machine", "version.kernel", "version.packages", "login.uid", "login.groups", "user.0", "mounts", "state.folder",
                    "state.registry", "state.binary", "path.0.outcome", "path.1.outcome", "path.1.real",
                    "path.1.stats", "path.1.space", "path.1.empty", "ds.0.marker", "ds.0.managed", "ds.0.source",
                    "ds.0.count", "ds.0.head", "ds.0.proof", "ds.0.foreign", "ds.0.writable", "src.0.readable",
                    "sizes", "clock", "acl.getfacl", "acl.nfs4xdr_getfacl",
                ]),
                prop_oneof![any::<Vec<u8>>(), "[0-9 /:a-f]{0,40}".prop_map(String::into_bytes)],
            ),
            0..20,
        )
    ) {
        let mut answer = Vec::new();
        for (key, value) in &pairs {
            answer.extend_from_slice(format!("{key} {}\n", value.len()).as_bytes());
            answer.extend_from_slice(value);
            answer.push(b'\n');
        }
        answer.extend_from_slice(b"clock 1\n7\n");
        let wanted = Wanted {
            users: vec!["root".into()],
            paths: vec!["/a".into()],
            datastores: vec![WantedDatastore { name: name("d"), path: "/a".into(), owner: None, measured: true }],
            sources: vec![WantedSource { name: name("s"), paths: vec!["/a".into()], is_volume: false, one_file_system: false }],
            ..Wanted::default()
        };
        let _ = parse(&answer, &wanted, String::new(), Timestamp(i64::MIN));
    }
}

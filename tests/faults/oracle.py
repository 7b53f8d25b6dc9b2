"""What must hold after any fault, and the commands that faults are tried on.

A scenario is one command of the program on a prepared folder. After a fault, `check` asks:
no repair by hand, a full verification passes, every acknowledged snapshot restores
identically, the command succeeds when run again, one more backup restores identically, and
a command that failed shows no new snapshot.
"""

import hashlib
import json
import os
import shutil
import stat
import subprocess

TIMEOUT_S = 120


class Broken(Exception):
    """A promise does not hold; the text says which."""


class Ran:
    """What a command did."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __str__(self):
        return f"exit {self.code}: {self.err.strip()[-600:]}"


def command(arguments, cwd="/"):
    """Runs a command whose own end is not waited for longer than any honest one takes."""
    # Everything that could differ between runs is fixed, and nothing of the user's is used.
    environment = {"PATH": os.environ["PATH"], "HOME": cwd, "BKPCTL_THREADS": "1", "LC_ALL": "C"}
    with subprocess.Popen(
        arguments, cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
    ) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Broken(f"{arguments} hangs") from None
    return Ran(process.returncode, out, err)


def picture(root):
    """Describes a tree: every path with its kind, metadata and content."""
    found, names = {}, {}
    for folder, folders, files in os.walk(root):
        for name in folders + files + ["."]:
            path = os.path.normpath(os.path.join(folder, name))
            if path in found:
                continue
            meta = os.lstat(path)
            kind = stat.S_IFMT(meta.st_mode)
            content = None
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
                names.setdefault((meta.st_dev, meta.st_ino), []).append(path)
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            attributes = {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
            }
            where = os.path.relpath(path, root)
            found[path] = (where, kind, content), (
                meta.st_mode, meta.st_uid, meta.st_gid, meta.st_mtime_ns, sorted(attributes.items()),
            )
    links = sorted(
        sorted(os.path.relpath(path, root) for path in group)
        for group in names.values() if len(group) > 1
    )
    data = sorted(data for data, _ in found.values())
    metadata = sorted((data[0], meta) for data, meta in found.values())
    return {"data": data, "links": links, "metadata": metadata}


def make_tree(root, seed):
    """Makes a small tree with every kind of thing that any user can make."""
    noise = lambda size, n: hashlib.shake_256(f"{seed} {n}".encode()).digest(size)
    os.makedirs(f"{root}/etc/empty")
    for n in range(12):
        with open(f"{root}/etc/conf-{n:02}", "wb") as file:
            # Half of the files are the same in every tree.
            file.write(noise(n * 1500, n) if n % 2 else hashlib.shake_256(str(n).encode()).digest(n * 1500))
    with open(f"{root}/large", "wb") as file:
        file.write(noise(1_500_000, "large"))
    with open(f"{root}/sparse", "wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(noise(5000, "sparse"))
    os.link(f"{root}/large", f"{root}/etc/large")
    os.symlink("../nowhere", f"{root}/etc/link")
    os.chmod(f"{root}/etc/conf-03", 0o4711)
    os.mkfifo(f"{root}/pipe")
    for n in range(12):
        os.utime(f"{root}/etc/conf-{n:02}", ns=(1, 1_700_000_000_123_456_789 + n))


class Trees:
    """Two trees that share half of their data, and what they look like."""

    def __init__(self, folder):
        self.paths = {}
        self.pictures = {}
        for name in ("one", "two"):
            path = f"{folder}/tree-{name}"
            make_tree(path, name)
            self.paths[name] = path
            self.pictures[name] = picture(path)


class Place:
    """A folder with repositories, and short calls of the program on them."""

    def __init__(self, program, folder, trees):
        self.program, self.folder, self.trees = program, folder, trees

    def path(self, name):
        return f"{self.folder}/{name}"

    def arguments(self, verb, *rest):
        return [self.program, "--quiet", "store", verb, *rest]

    def key(self):
        return ["--key-file", self.path("key")]

    def run(self, verb, *rest):
        ran = command(self.arguments(verb, *rest))
        refuse_panic(ran)
        return ran

    def must(self, verb, *rest):
        ran = self.run(verb, *rest)
        if ran.code != 0:
            raise Broken(f"{verb} fails: {ran}")
        return ran

    def snapshots(self, repository="repository"):
        """Returns the ids of the snapshots, the oldest first."""
        ran = self.must("snapshots", self.path(repository), "--json", *self.key())
        listed = json.loads(ran.out)["snapshots"]
        return [one["id"] for one in sorted(listed, key=lambda one: one["started"])]

    def back_up(self, tree):
        self.must("backup", self.path("repository"), self.trees.paths[tree], *self.key())
        return self.snapshots()[-1]

    def check_restore(self, repository, snapshot, tree):
        out = self.path("restored")
        shutil.rmtree(out, ignore_errors=True)
        self.must("restore", self.path(repository), snapshot, out, *self.key())
        expect_same(out, self.trees.pictures[tree], f"snapshot {snapshot[:8]} of tree {tree}")
        shutil.rmtree(out)

    def verify(self, repository="repository"):
        ran = self.run("verify", self.path(repository), "--read-data", *self.key())
        if ran.code != 0:
            raise Broken(f"{repository} does not verify: {ran} {ran.out[-600:]}")


def refuse_panic(ran):
    if ran.code in (101, 134, -6, -11) or "panicked" in ran.err:
        raise Broken(f"a panic: {ran}")


def expect_same(root, expected, what, metadata=True):
    found = picture(root)
    for part in ("data", "links") + (("metadata",) if metadata else ()):
        if found[part] != expected[part]:
            odd = [one for one in found[part] if one not in expected[part]]
            lost = [one for one in expected[part] if one not in found[part]]
            raise Broken(f"{what} differs in {part}: {str(odd[:2])[:300]} instead of {str(lost[:2])[:300]}")


class Scenario:
    """One command; subclasses say on what and what follows from it."""

    name = ""
    verb = ""

    def prepare(self, place):
        """Makes the folder before the command; returns the snapshots that must survive."""
        place.must("init", place.path("repository"), *place.key())
        return {}

    def arguments(self, place):
        return place.arguments(self.verb, *self.operands(place), *self.key(place))

    def key(self, place):
        return place.key()

    def operands(self, place):
        return [place.path("repository")]

    def again(self, place):
        place.must(self.verb, *self.operands(place), *self.key(place))

    def expected_after(self, known):
        """Returns which of the snapshots that were there must still be there."""
        return known

    def made(self):
        """Returns the tree of the snapshot that the command makes, if it makes one."""
        return None

    def check(self, place, known, ran, may_show=False):
        """Checks every promise; `ran` is none if the command was killed."""
        if ran is not None:
            refuse_panic(ran)
        kept = self.expected_after(known)
        now = place.snapshots()
        for snapshot in kept:
            if snapshot not in now:
                raise Broken(f"snapshot {snapshot[:8]} is gone")
        new = [one for one in now if one not in known]
        if ran is not None and ran.code != 0 and new and not may_show:
            raise Broken(f"a command that failed shows a new snapshot: {ran}")
        if ran is not None and ran.code == 0 and self.made() and not new:
            raise Broken("a command that succeeded shows no new snapshot")
        place.verify()
        for snapshot in now:
            tree = known.get(snapshot) or self.made()
            place.check_restore("repository", snapshot, tree)
        self.again(place)
        self.check_goal(place, known)
        last = place.back_up("two")
        place.check_restore("repository", last, "two")
        place.verify()

    def check_goal(self, place, known):
        """Checks what the command is for, once it has succeeded."""


class Init(Scenario):
    name = verb = "init"

    def prepare(self, place):
        return {}

    def again(self, place):
        ran = place.run("init", place.path("repository"), *place.key())
        if ran.code != 0 and "a repository" not in ran.err:
            raise Broken(f"init fails when run again: {ran}")

    def check(self, place, known, ran, may_show=False):
        if ran is not None:
            refuse_panic(ran)
        if ran is None or ran.code != 0:
            self.again(place)
        snapshot = place.back_up("one")
        place.check_restore("repository", snapshot, "one")
        place.verify()


class Backup(Scenario):
    name = verb = "backup"

    def operands(self, place):
        return [place.path("repository"), place.trees.paths["one"]]

    def made(self):
        return "one"


class BackupAgain(Backup):
    name = "backup again"

    def prepare(self, place):
        super().prepare(place)
        return {place.back_up("two"): "two"}


class Sync(Scenario):
    name = verb = "sync"

    def prepare(self, place):
        super().prepare(place)
        return {place.back_up("one"): "one", place.back_up("two"): "two"}

    def operands(self, place):
        return [place.path("repository"), place.path("copy")]

    def check_goal(self, place, known):
        place.verify("copy")
        for snapshot, tree in known.items():
            place.check_restore("copy", snapshot, tree)


class SyncAgain(Sync):
    name = "sync again"

    def prepare(self, place):
        known = super().prepare(place)
        self.again(place)
        return {**known, place.back_up("one"): "one"}

    def check(self, place, known, ran, may_show=False):
        # What the copy had before survives whatever happens to the next copy.
        first = list(known)[:2]
        for snapshot in first:
            place.check_restore("copy", snapshot, known[snapshot])
        super().check(place, known, ran, may_show)


class Restore(Scenario):
    name = verb = "restore"

    def prepare(self, place):
        super().prepare(place)
        return {place.back_up("one"): "one"}

    def operands(self, place):
        return [place.path("repository"), "latest", place.path("out")]

    def arguments(self, place):
        # What could not be set is told, unless the command is to be quiet.
        return [part for part in super().arguments(place) if part != "--quiet"]

    def again(self, place):
        shutil.rmtree(place.path("out"), ignore_errors=True)
        super().again(place)

    def check(self, place, known, ran, may_show=False):
        if ran is not None and ran.code == 0:
            # Owners and times that could not be set are told and fail nothing.
            noted = "⚠" in ran.err
            expect_same(place.path("out"), place.trees.pictures["one"], "what was restored", not noted)
        super().check(place, known, ran, may_show)

    def check_goal(self, place, known):
        expect_same(place.path("out"), place.trees.pictures["one"], "what was restored")


class Keyless(Scenario):
    """A command that needs no key."""

    def key(self, place):
        return []


class Forget(Keyless):
    name = verb = "forget"

    def prepare(self, place):
        super().prepare(place)
        return {place.back_up(tree): tree for tree in ("one", "two", "one")}

    def operands(self, place):
        return [place.path("repository"), "--keep-last", "1"]

    def expected_after(self, known):
        return list(known)[-1:]

    def check_goal(self, place, known):
        if place.snapshots() != list(known)[-1:]:
            raise Broken("forget kept something else than the last snapshot")


class Collect(Keyless):
    """Collection after two of three snapshots were forgotten."""

    name = verb = "gc"

    def prepare(self, place):
        known = Forget().prepare(place)
        Forget().again(place)
        last = list(known)[-1]
        return {last: known[last]}


class Repair(Keyless):
    """Repair after the index was lost: everything can be made again."""

    name = verb = "repair"

    def prepare(self, place):
        super().prepare(place)
        known = {place.back_up(tree): tree for tree in ("one", "two")}
        index = place.path("repository/index")
        for name in os.listdir(index):
            with open(f"{index}/{name}", "r+b") as file:
                file.write(b"damage")
        return known

    def check(self, place, known, ran, may_show=False):
        # Until it has run to its end, what it is to repair may still be damaged.
        self.again(place)
        super().check(place, known, ran, may_show)


def scenarios(program):
    """Returns the scenarios whose verbs the program has."""
    listed = command([program, "store", "--help"]).out
    verbs = {line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line.strip()}
    every = [Init, Backup, BackupAgain, Sync, SyncAgain, Restore, Forget, Collect, Repair]
    return [one() for one in every if one.verb in verbs and (one is not Collect or "forget" in verbs)]

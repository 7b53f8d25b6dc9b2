#!/usr/bin/env python3
"""Kills the program, and fails its calls, at every system call that touches its files.

For each scenario the first run counts the calls under strace. Then, each time on a fresh
copy of the folder, the program is killed at the n-th call, or the n-th call fails with
ENOSPC or EIO, once or from then on; after each, the oracle is asked. Counts are per thread
and per call, so the program runs with as few threads as it can, and calls of the main thread
are hit without following the others. A point that is not hit is a failure of the test.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import oracle
from oracle import Broken

CALLS = (
    "write pwrite64 writev pwritev pwritev2 copy_file_range sendfile ftruncate fallocate fsync fdatasync "
    "syncfs sync_file_range open openat mkdir mkdirat mknod mknodat rename renameat renameat2 link linkat "
    "unlink unlinkat rmdir symlink symlinkat chmod fchmod fchmodat fchown fchownat lchown utimensat "
    "fsetxattr lsetxattr setxattr ioctl"
).split()
SET = ",".join(f"?{call}" for call in CALLS)
LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)$")


class Call:
    """One call of the first run."""

    def __init__(self, main, name, number, order, text):
        self.main, self.name, self.number, self.order, self.text = main, name, number, order, text
        creates = "O_CREAT" in text or "O_TRUNC" in text
        self.writes = name not in ("open", "openat", "ioctl") or creates


class Point:
    """One fault: a call, and what happens at it."""

    def __init__(self, call, kind):
        self.call, self.kind = call, kind

    def injection(self):
        action, _, rest = self.kind.partition(" ")
        what = "signal=KILL" if action == "kill" else f"error={action}"
        onwards = "+" if rest == "for good" else ""
        return f"inject={self.call.name}:{what}:when={self.call.number}{onwards}"

    def __str__(self):
        where = "main thread" if self.call.main else "another thread"
        return f"{self.kind} at {self.call.name} number {self.call.number} of the {where}: {self.call.text[:160]}"


def trace(arguments, log, options):
    return oracle.command(["strace", "-qq", "-y", "-s", "16", "-o", log, *options, "--", *arguments])


def read_calls(log, folder):
    """Returns the calls that touch the folder, of all threads."""
    counts, calls, main = Counter(), [], None
    with open(log, errors="replace") as lines:
        for order, line in enumerate(lines):
            match = LINE.match(line)
            if not match:
                continue
            thread, name, text = match.groups()
            main = main or thread
            counts[thread, name] += 1
            if folder in text:
                calls.append(Call(thread == main, name, counts[thread, name], order, text.strip()))
    return calls


def distinct(calls):
    """Leaves out calls of other threads that cannot be told apart when they are counted."""
    seen, kept = set(), []
    for call in calls:
        key = (call.main, call.name, call.number)
        if key not in seen:
            seen.add(key)
            kept.append(call)
    return kept


def points_of(calls):
    points = defaultdict(list)
    for call in distinct(calls):
        points["kill"].append(Point(call, "kill"))
        if call.writes:
            for error in ("ENOSPC", "EIO"):
                for when in ("once", "for good"):
                    points["error"].append(Point(call, f"{error} {when}"))
        elif call.name != "ioctl":
            points["error"].append(Point(call, "EIO once"))
    return points


class Sweep:
    """Carries out the points of one scenario."""

    def __init__(self, program, scenario, folder, trees):
        self.program, self.scenario, self.folder, self.trees = program, scenario, folder, trees
        self.template = f"{folder}/template"
        os.mkdir(self.template)
        self.known = scenario.prepare(oracle.Place(program, self.template, trees))
        self.commit_order = {}

    def fresh(self, name):
        folder = f"{self.folder}/{name}"
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "-a", self.template, folder], check=True)
        return oracle.Place(self.program, folder, self.trees)

    def count(self):
        place = self.fresh("count")
        log = f"{self.folder}/count.log"
        ran = trace(self.scenario.arguments(place), log, ["-f", "-e", f"trace={SET}"])
        if ran.code != 0:
            raise Broken(f"the unharmed run fails: {ran}")
        calls = read_calls(log, place.folder)
        self.scenario.check(place, self.known, ran)
        # From the rename of the last manifest on, a failure comes after the fact.
        commits = [call.order for call in calls if call.name.startswith("rename") and "/snapshots/" in call.text]
        self.committed = max(commits, default=1 << 60)
        shutil.rmtree(place.folder)
        return calls

    def carry_out(self, point, name):
        """Runs one point; returns whether it was hit."""
        for _ in range(3):
            place = self.fresh(name)
            log = f"{self.folder}/{name}.log"
            follow = [] if point.call.main else ["-f"]
            options = [*follow, "-e", f"trace={point.call.name}", "-e", point.injection()]
            ran = trace(self.scenario.arguments(place), log, options)
            killed = point.kind == "kill"
            hit = ran.code in (137, -9) if killed else "(INJECTED)" in open(log, errors="replace").read()
            if hit:
                self.judge(point, place, None if killed else ran, log)
                shutil.rmtree(place.folder)
                return True
        return False

    def judge(self, point, place, ran, log):
        late = point.call.order >= self.committed
        if point.call.name in ("fsync", "fdatasync", "syncfs") and ran is not None:
            check_sync(point, ran, log)
        self.scenario.check(place, self.known, ran, may_show=late)


def check_sync(point, ran, log):
    """A sync that failed is fatal, and never tried again: the kernel forgot what was lost."""
    if ran.code == 0:
        raise Broken("a sync failed and the command succeeded")
    failed = set()
    for line in open(log, errors="replace"):
        path = re.search(r"<([^>]*)>", line)
        # What is tidied up after the failure syncs its folder too; the command fails all the same.
        if path and path[1] in failed and "once" in point.kind and not os.path.isdir(path[1]):
            raise Broken(f"a sync that failed was tried again: {line.strip()}")
        if path and "(INJECTED)" in line:
            failed.add(path[1])


def sampled(points, share, seed):
    if share >= 1:
        return points
    # A test that tries nothing would always pass.
    number = max(1, round(len(points) * share))
    return random.Random(seed).sample(points, min(number, len(points)))


def sweep(program, scenario, options, folder, trees):
    """Sweeps one scenario; returns its failures."""
    os.mkdir(folder)
    work = Sweep(program, scenario, folder, trees)
    calls = work.count()
    points = points_of(calls)
    failures, hits = [], Counter()
    started = time.monotonic()
    asked = Counter()
    for kind, every in points.items():
        chosen = sampled(every, options.share, f"{options.seed} {scenario.name} {kind}")
        asked[kind] = len(chosen)

        def one(numbered):
            number, point = numbered
            try:
                if work.carry_out(point, f"{kind}-{number}"):
                    return kind, None
                return None, f"{point}: was not hit"
            except Broken as broken:
                return kind, f"{point}: {broken}"

        with ThreadPoolExecutor(options.jobs) as pool:
            for hit, failure in pool.map(one, enumerate(chosen)):
                hits[hit] += hit is not None
                if failure:
                    failures.append(failure)
                    print(f"FAILED {scenario.name}: {failure}", flush=True)
    others = sum(not call.main for call in calls)
    print(
        f"{scenario.name}: {len(calls)} calls ({others} of other threads), {hits['kill']} of {asked['kill']} kills"
        f" and {hits['error']} of {asked['error']} errors hit"
        f" (of {len(points['kill'])} and {len(points['error'])}), {len(failures)} failed,"
        f" {time.monotonic() - started:.0f} s",
        flush=True,
    )
    if hits["kill"] != asked["kill"] or hits["error"] != asked["error"] or not hits["kill"]:
        failures.append(f"{scenario.name}: not every point was hit")
    return failures


def why_not():
    """Says why a sweep can't be done here, if it can't."""
    if not shutil.which("strace"):
        return "strace is not installed"
    try:
        ran = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"strace can't be run: {error}"
    return None if ran.returncode == 0 else f"processes can't be traced here: {ran.stderr.strip()[-200:]}"


def scratch():
    """Returns where a sweep is fast: memory, if there is enough."""
    room = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0
    return "/dev/shm" if room > 1 << 30 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the release binary")
    parser.add_argument("--share", type=float, default=1.0, help="try this share of the points (default: all)")
    parser.add_argument("--seed", default="0", help="which share")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", help="one scenario by name")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        print(f"skipped: no sweep of system calls: {reason}")
        return 0
    program = os.path.abspath(options.program)
    folder = tempfile.mkdtemp(prefix="bkpctl-sweep-", dir=scratch())
    failures = []
    try:
        trees = oracle.Trees(folder)
        for number, scenario in enumerate(oracle.scenarios(program)):
            if options.only in (None, scenario.name):
                failures += sweep(program, scenario, options, f"{folder}/{number}", trees)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

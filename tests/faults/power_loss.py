#!/usr/bin/env python3
"""Cuts the power of a filesystem while the program writes to it.

A small image is mounted through a loop device. While a command runs, the filesystem is shut
down with the ioctl that XFS and ext4 have for tests: what was not synced is lost, as when
the power goes. After a new mount the oracle is asked. Whatever a command acknowledged before
the shutdown must be there.
"""

import argparse
import ctypes
import fcntl
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import oracle
from oracle import Broken

CLONE_NEWNS = 0x00020000
FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING_THE_LOG = (2).to_bytes(4, "little")
IMAGE_BYTES = 320 << 20
MAKE = {"xfs": ["mkfs.xfs", "-q", "-f"], "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"]}
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def tool(*arguments):
    ran = subprocess.run(arguments, capture_output=True, text=True, check=False, env={"PATH": PATH})
    if ran.returncode != 0:
        raise OSError(f"{arguments[0]}: {ran.stderr.strip()[-300:]}")


class Disk:
    """A filesystem on a loop device, whose power can be cut."""

    def __init__(self, kind, folder):
        self.image, self.path = f"{folder}/{kind}.img", f"{folder}/{kind}"
        os.mkdir(self.path)
        with open(self.image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        tool(*MAKE[kind], self.image)
        self.mounted = False
        self.mount()

    def mount(self):
        tool("mount", "-o", "loop", self.image, self.path)
        self.mounted = True

    def cut_power(self):
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, FS_IOC_SHUTDOWN, WITHOUT_FLUSHING_THE_LOG)
        finally:
            os.close(folder)

    def umount(self):
        # A process that was killed a moment ago may still be on its way out.
        for attempt in range(100):
            try:
                tool("umount", self.path)
                self.mounted = False
                return
            except OSError:
                if attempt == 99:
                    raise
                time.sleep(0.05)

    def close(self):
        if self.mounted:
            self.umount()
        os.remove(self.image)


class Losses:
    """Carries out the power losses of one filesystem."""

    def __init__(self, program, disk, folder, trees):
        self.program, self.disk, self.trees = program, disk, trees
        self.folder = f"{folder}/templates-{os.path.basename(disk.path)}"
        os.mkdir(self.folder)
        self.prepared = {}

    def template(self, scenario):
        """Makes what the command works on, once, and measures how long the command takes."""
        if scenario.name not in self.prepared:
            path = f"{self.folder}/{scenario.name.replace(' ', '-')}"
            os.mkdir(path)
            known = scenario.prepare(oracle.Place(self.program, path, self.trees))
            place = self.fresh(path)
            started = time.monotonic()
            ran = oracle.command(scenario.arguments(place))
            if ran.code != 0:
                raise Broken(f"the unharmed {scenario.name} fails: {ran}")
            self.prepared[scenario.name] = path, known, time.monotonic() - started
        return self.prepared[scenario.name]

    def fresh(self, template):
        place = f"{self.disk.path}/place"
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run(["cp", "-a", template, place], check=True)
        tool("sync", "-f", place)
        return oracle.Place(self.program, place, self.trees)

    def carry_out(self, scenario, chance):
        """Cuts the power at a random moment of a command; returns whether it still ran."""
        template, known, took = self.template(scenario)
        place = self.fresh(template)
        arguments = scenario.arguments(place)
        environment = {"PATH": PATH, "HOME": "/"}
        process = subprocess.Popen(
            arguments, cwd="/", env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        )
        time.sleep(took * chance)
        code = process.poll()
        self.disk.cut_power()
        process.kill()
        words = process.communicate()[1]
        self.disk.umount()
        self.disk.mount()
        # What ended before the power did is held to what it said; the rest was killed.
        scenario.check(place, known, None if code is None else oracle.Ran(code, "", words))
        return code is None


def run(kind, options, program, folder, trees):
    """Cuts the power of one kind of filesystem; returns the failures."""
    disk = Disk(kind, folder)
    failures, running = [], 0
    started = time.monotonic()
    try:
        losses = Losses(program, disk, folder, trees)
        chances = random.Random(f"{options.seed} {kind}")
        # A restore writes nothing that is to last; what a power loss leaves of it is no promise.
        every = [one for one in oracle.scenarios(program) if one.name != "restore"]
        for number in range(options.points):
            scenario, chance = every[number % len(every)], chances.random() * 1.05
            try:
                running += losses.carry_out(scenario, chance)
            except Broken as broken:
                failures.append(f"{kind}: {scenario.name} at {chance:.3f}, point {number}: {broken}")
                print(f"FAILED {failures[-1]}", flush=True)
    finally:
        disk.close()
    print(
        f"{kind}: {options.points} power losses, {running} of them while the command ran,"
        f" {len(failures)} failed, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    if running < options.points // 3:
        failures.append(f"{kind}: most commands had ended before the power did")
    return failures


def why_not(kind, folder):
    """Says why power can't be cut here, if it can't."""
    if os.geteuid() != 0:
        return "only root may mount a filesystem"
    try:
        disk = Disk(kind, folder)
    except OSError as error:
        return str(error)
    try:
        disk.cut_power()
    except OSError as error:
        return f"{kind} can't be shut down here: {error}"
    finally:
        disk.close()
        os.rmdir(disk.path)
    return None


def own_mounts():
    """Has this process and those that it starts mount for themselves alone, where that can be had.

    Whoever copied the mounts of all (`ip netns exec` does) would keep a filesystem alive that is
    unmounted here, and the next mount would find it as it was shut down.
    """
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0:
        tool("mount", "--make-rprivate", "/")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the release binary")
    parser.add_argument("--points", type=int, default=50, help="how often the power is cut, for each filesystem")
    parser.add_argument("--seed", default="0", help="at which moments")
    parser.add_argument("--only", choices=MAKE, help="one filesystem")
    options = parser.parse_args()
    program = os.path.abspath(options.program)
    own_mounts()
    folder = tempfile.mkdtemp(prefix="bkpctl-power-")
    failures = []
    try:
        trees = oracle.Trees(folder)
        for kind in [options.only] if options.only else MAKE:
            reason = why_not(kind, folder)
            if reason:
                print(f"skipped: no power loss on {kind}: {reason}")
            else:
                failures += run(kind, options, program, folder, trees)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

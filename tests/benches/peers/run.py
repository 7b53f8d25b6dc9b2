#!/usr/bin/env python3
"""Compares bkpctl with restic, rustic, borg and bupstash at the same work.

Prints medians, ratios to the fastest peer, and yardsticks of the machine. Needs Python 3,
cargo, and as root or with the packages there: debootstrap, e2fsprogs, zstd, and borg's
libacl1-dev libssl-dev liblz4-dev libxxhash-dev libzstd-dev, bupstash's libsodium-dev.

    cargo build --release
    python3 tests/benches/peers/run.py --work /var/tmp/peers

The first run builds peers and corpora, which takes half an hour and 20 GB.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from corpora import Corpora  # noqa: E402
from measure import Run, measured, release_build  # noqa: E402
from tools import Bkpctl, Borg, Bupstash, Restic, Rustic, Tool  # noqa: E402

SCENARIOS = ("tree", "image", "random", "million")


@contextlib.contextmanager
def fresh_filesystem(scratch: Path):
    """Gives the folder of an ext4 that nothing was deleted from, to restore into.

    ext4 passes over inodes that were deleted within the last minutes, looking at each. So
    whoever restores after somebody else's restored tree was deleted pays for that: up to
    forty seconds of the kernel's time for 150,000 files. The filesystem is whole when it is
    mounted, and what is written to it goes to the disk past a second cache, as on a disk of
    its own.
    """
    image, folder = scratch / "restored.img", scratch / "restored"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 30)
    made = (os.geteuid() == 0
            and subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0",
                                str(image)]).returncode == 0
            and mounted(image, folder))
    if not made:
        print("  no filesystem of its own to restore into (root may mount): restores after the first are slower")
    try:
        yield folder
    finally:
        if made:
            subprocess.run(["umount", str(folder)], check=True)
        image.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def mounted(image: Path, folder: Path) -> bool:
    """Mounts a filesystem in a file; its loop device goes when it is unmounted."""
    loop = subprocess.run(["losetup", "--show", "--direct-io=on", "-f", str(image)],
                          capture_output=True, text=True)
    if loop.returncode != 0:
        return False
    device = loop.stdout.strip()
    is_mounted = subprocess.run(["mount", device, str(folder)]).returncode == 0
    # Detached while it is mounted, it goes with the mount.
    subprocess.run(["losetup", "-d", device], check=True)
    return is_mounted


class Benchmark:
    def __init__(self, tools: list[Tool], corpora: Corpora, scratch: Path):
        self.tools = tools
        self.corpora = corpora
        self.scratch = scratch
        # What was done → who did it → one Run a round.
        self.runs: dict[str, dict[str, list[Run]]] = {}
        self.stored: dict[str, dict[str, int]] = {}

    def note(self, what: str, who: str, run: Run) -> None:
        self.runs.setdefault(what, {}).setdefault(who, []).append(run)
        print(f"  {what:18} {who:9} {run.seconds:7.2f} s  {run.cpu_seconds:7.2f} cpu-s  {run.peak_mib:6.0f} MiB", flush=True)

    def act(self, what: str, tool: Tool, command: list[str]) -> None:
        self.note(what, tool.name, measured(command, tool.environment()))

    def restored(self, what: str, tool: Tool, restore) -> None:
        """Notes how long a restore ran, and how long it took until the disk had it all.

        bkpctl waits for the disk unless told not to, so it runs both ways; no other tool waits.
        """
        with fresh_filesystem(self.scratch) as folder:
            ran = measured(restore(folder / "restored"), tool.environment())
            self.note(what, tool.name, ran)
            if not isinstance(tool, Bkpctl):
                self.note(f"{what}+sync", tool.name, synced(folder, ran))
        if isinstance(tool, Bkpctl):
            with fresh_filesystem(self.scratch) as folder:
                self.act(f"{what}+sync", tool, tool.waiting(restore(folder / "restored")))

    def copied(self, what: str, who: str, command) -> None:
        """Notes the same of a yardstick."""
        with fresh_filesystem(self.scratch) as folder:
            ran = measured(command(folder / "copy"))
            self.note(what, who, ran)
            self.note(f"{what}+sync", who, synced(folder, ran))

    def tree(self, tool: Tool) -> None:
        tree, later = self.corpora.tree(), self.corpora.tree_later()
        tool.fresh()
        self.act("tree first", tool, tool.backup(tree))
        self.stored.setdefault("tree", {})[tool.name] = tool.stored()
        self.act("tree unchanged", tool, tool.backup(tree))
        if tool.can_verify:
            self.act("tree verify", tool, tool.verify())
        self.restored("tree restore", tool, tool.restore)
        # The later tree takes the place of the first, as after a move to another disk.
        swap(tree, later)
        try:
            self.act("tree 1 % changed", tool, tool.backup(tree))
        finally:
            swap(tree, later)

    def image(self, tool: Tool) -> None:
        image, later = self.corpora.image(), self.corpora.image_later()
        tool.fresh()
        self.act("image first", tool, tool.backup(image))
        self.stored.setdefault("image", {})[tool.name] = tool.stored()
        self.restored("image restore", tool, tool.restore_image)
        swap(image, later)
        try:
            self.act("image later", tool, tool.backup(image))
        finally:
            swap(image, later)

    def random(self, tool: Tool) -> None:
        tool.fresh()
        self.act("random first", tool, tool.backup(self.corpora.random()))

    def million(self, tool: Tool) -> None:
        million = self.corpora.million()
        tool.fresh()
        self.act("million first", tool, tool.backup(million))
        self.act("million unchanged", tool, tool.backup(million))

    def warm(self, scenario: str) -> None:
        """Reads what will be backed up once, so that nobody is the first to wait for the disk."""
        paths = [getattr(self.corpora, scenario)()]
        later = getattr(self.corpora, f"{scenario}_later", None)
        if later is not None:
            paths.append(later())
        subprocess.run(["find", *map(str, paths), "-type", "f", "-exec", "cat", "{}", "+"],
                       check=True, stdout=subprocess.DEVNULL)

    def yardsticks(self, scenario: str) -> None:
        shell = lambda text: ["sh", "-c", text]  # noqa: E731
        if scenario == "tree":
            tree = self.corpora.tree()
            self.note("tree first", "tar|zstd", measured(shell(f"tar cf - -C {tree} . | zstd -q -3 -T0 > {self.scratch}/tar.zst")))
            self.note("tree unchanged", "find", measured(shell(f"find {tree} -printf '%p %s %T@ %C@ %i\\n' > /dev/null")))
            self.copied("tree restore", "cp -a", lambda to: ["cp", "-a", str(tree), str(to)])
        elif scenario == "image":
            image = self.corpora.image()
            self.note("image first", "zstd", measured(shell(f"zstd -q -f -3 -T0 {image} -o {self.scratch}/image.zst")))
            self.copied("image restore", "cp", lambda to: ["cp", "--sparse=always", str(image), str(to)])
        elif scenario == "random":
            noise = self.corpora.random() / "noise"
            self.note("random first", "zstd", measured(shell(f"zstd -q -f -3 -T0 {noise} -o {self.scratch}/noise.zst")))
            self.note("random first", "cp+sync", measured(shell(f"cp {noise} {self.scratch}/noise && sync {self.scratch}/noise")))
        elif scenario == "million":
            self.note("million unchanged", "find", measured(shell(f"find {self.corpora.million()} -printf '%p %s %T@ %C@ %i\\n' > /dev/null")))

    def round(self, number: int, scenarios: list[str]) -> None:
        for scenario in scenarios:
            # Each goes first in turn, so that none always meets the same state of the machine.
            turn = number % len(self.tools)
            for tool in self.tools[turn:] + self.tools[:turn]:
                getattr(self, scenario)(tool)
                shutil.rmtree(tool.work, ignore_errors=True)
            self.yardsticks(scenario)

    def table(self) -> str:
        peers = [tool.name for tool in self.tools if tool.name != "bkpctl"]
        lines = ["", f"{'medians, seconds':18} {'bkpctl':>8} " + " ".join(f"{name:>8}" for name in peers)
                 + "   of fastest peer   yardstick"]
        for what, by in self.runs.items():
            medians = {who: statistics.median(run.seconds for run in runs) for who, runs in by.items()}
            ours = medians.get("bkpctl")
            others = [medians[name] for name in peers if name in medians]
            yard = ", ".join(f"{who} {value:.2f}" for who, value in medians.items()
                             if who not in peers and who != "bkpctl")
            ratio = f"{ours / min(others):.2f}" if ours is not None and others else "–"
            cells = " ".join(f"{medians[name]:8.2f}" if name in medians else f"{'–':>8}" for name in peers)
            mine = f"{ours:8.2f}" if ours is not None else f"{'–':>8}"
            lines.append(f"{what:18} {mine} {cells}   {ratio:>15}   {yard}")
        lines += ["", f"{'peak MiB':18}"]
        for what, by in self.runs.items():
            peaks = ", ".join(f"{who} {max(run.peak_mib for run in runs):.0f}" for who, runs in by.items())
            lines.append(f"{what:18} {peaks}")
        for what, by in self.stored.items():
            sizes = ", ".join(f"{who} {size / (1 << 20):.0f}" for who, size in by.items())
            others = [size for who, size in by.items() if who != "bkpctl"]
            ratio = f"; of smallest peer {by['bkpctl'] / min(others):.2f}" if "bkpctl" in by and others else ""
            lines.append(f"{what + ' stored MiB':18} {sizes}{ratio}")
        return "\n".join(lines)


def synced(folder: Path, ran: Run) -> Run:
    """Returns a run with the time added until the disk has what it wrote to a filesystem."""
    start = time.monotonic()
    subprocess.run(["sync", "-f", str(folder)], check=True)
    return replace(ran, seconds=ran.seconds + time.monotonic() - start)


def swap(one: Path, other: Path) -> None:
    """Exchanges two files or folders of one filesystem."""
    aside = one.with_name(one.name + ".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for peers, corpora and repositories")
    parser.add_argument("--programs", type=Path, help="where peers are or get installed (default: WORK/programs)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the corpora; 1 is the real one")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--tool", action="append", help="default: all; bkpctl always runs")
    parser.add_argument("--bkpctl", type=Path, help="the program (default: the release build)")
    arguments = parser.parse_args()

    work = arguments.work.resolve()
    programs = (arguments.programs or work / "programs").resolve()
    scratch = work / "scratch"
    for folder in (programs, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    program = arguments.bkpctl or release_build()
    tools: list[Tool] = [Bkpctl(programs, scratch, program.resolve())]
    for kind in (Restic, Rustic, Borg, Bupstash):
        if arguments.tool is None or kind.name in arguments.tool:
            tools.append(kind(programs, scratch))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}")
    for tool in tools:
        print(f"{tool.name:9} {tool.version()}   {tool.options}")
    print(f"zstd      {subprocess.run(['zstd', '--version'], capture_output=True, text=True).stdout.strip()}")

    scenarios = arguments.scenario or list(SCENARIOS)
    benchmark = Benchmark(tools, Corpora(work / "corpora", arguments.scale), scratch)
    for scenario in scenarios:
        benchmark.warm(scenario)
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
        benchmark.round(number, scenarios)
    print(benchmark.table())
    result = work / "result.json"
    result.write_text(json.dumps({
        "runs": {what: {who: [asdict(run) for run in runs] for who, runs in by.items()} for what, by in benchmark.runs.items()},
        "stored": benchmark.stored,
    }, indent=1))
    print(f"\nevery run: {result}")


if __name__ == "__main__":
    main()

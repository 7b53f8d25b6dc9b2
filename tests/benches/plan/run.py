#!/usr/bin/env python3
"""How long it takes to check a large topology and to plan it from facts.

    python3 tests/benches/plan/run.py --work FOLDER

Makes a topology of 500 nodes and 2,000 sources and facts of all of them (see `made.py`), and
measures `bkpctl validate`, `bkpctl plan --facts` as a person reads it, and the same with `--json`.
Then once more with half as many of each, to see how the time grows; twice as many names are more
than a topology may have. Medians count, and the largest peak. It needs no root and reaches no
network.

What the figures were, and what limits them, is in docs/performance.md.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from made import make, sites  # noqa: E402
from measure import Run, measured, release_build  # noqa: E402

# The exit codes that say something of the plan, and nothing of the program.
OF_THE_PLAN = (0, 1, 2, 3, 4)
MIB = 1 << 20


@dataclass
class Aim:
    """What a work may take."""

    seconds: float
    peak_mib: float | None


AIMS = {"validate": Aim(0.100, None), "plan --facts": Aim(1.0, 200), "plan --facts --json": Aim(1.0, 200)}


@dataclass
class Size:
    """One topology with its facts, and the runs of each work."""

    nodes: int
    sources: int
    topology: Path
    facts: Path
    runs: dict[str, list[Run]]

    def commands(self, program: Path) -> dict[str, list[str]]:
        plan = [str(program), "plan", "--facts", str(self.facts), str(self.topology)]
        return {"validate": [str(program), "validate", str(self.topology)],
                "plan --facts": plan, "plan --facts --json": [*plan, "--json"]}

    def median(self, work: str, of=lambda run: run.seconds) -> float:
        return statistics.median(of(run) for run in self.runs[work])


def made_size(work: Path, nodes: int, sources: int, program: Path) -> Size:
    topology, facts, plan = make(work / f"{nodes}-{sources}", nodes, sources, program)
    files = [file for file in topology.rglob("*.kdl")]
    text = sum(file.stat().st_size for file in files)
    unreached = sum(1 for node in plan["nodes"] if node.get("unreachable"))
    print(f"{nodes} nodes, {unreached} of them not reached, {sources} sources, {3 * len(sites(nodes, sources))} "
          f"datastores: {len(files)} files of {text / 1024:.0f} KiB, facts of {facts.stat().st_size / MIB:.0f} MiB, "
          f"a plan of {len(plan['actions'])} actions and {len(plan['findings'])} findings", flush=True)
    return Size(nodes, sources, topology, facts, {name: [] for name in AIMS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for topologies and facts")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--sources", type=int, default=2000)
    parser.add_argument("--bkpctl", type=Path, help="the program (default: the release build)")
    arguments = parser.parse_args()

    work = arguments.work.resolve()
    program = (arguments.bkpctl or release_build()).resolve()
    version = subprocess.run([str(program), "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{version}, {os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}, "
          f"{arguments.rounds} rounds")
    # A child begins with the memory of whoever starts it, so what makes the facts is gone by then.
    with multiprocessing.get_context("spawn").Pool(1) as maker:
        wanted = [(work, arguments.nodes // part, arguments.sources // part, program) for part in (1, 2)]
        all_sizes = maker.starmap(made_size, wanted, chunksize=1)
    for _ in range(arguments.rounds):
        for size in all_sizes:
            for name, command in size.commands(program).items():
                size.runs[name].append(measured(command, accepted=OF_THE_PLAN))

    for size in all_sizes:
        print(f"\n{size.nodes} nodes, {size.sources} sources: medians")
        for name in AIMS:
            peak = max(run.peak_mib for run in size.runs[name])
            print(f"  {name:20} {size.median(name):6.3f} s   {size.median(name, lambda run: run.cpu_seconds):6.3f} cpu-s   "
                  f"peak {peak:4.0f} MiB{verdict(size, name, peak) if size is all_sizes[0] else ''}")
    print("\ntwice as many of each as the smaller size has take")
    for name in AIMS:
        twice, once = (size.median(name, lambda run: run.cpu_seconds) for size in all_sizes)
        print(f"  {name:20} {twice / once:5.2f} times the processor time")
    result = work / "result.json"
    result.write_text(json.dumps({f"{size.nodes}/{size.sources}": {name: [asdict(run) for run in runs]
                                                                  for name, runs in size.runs.items()}
                                  for size in all_sizes}, indent=1))
    print(f"\nevery run: {result}")


def verdict(size: Size, name: str, peak: float) -> str:
    """Says what was aimed at, and whether that was missed."""
    aim = AIMS[name]
    missed = size.median(name) > aim.seconds or (aim.peak_mib is not None and peak > aim.peak_mib)
    memory = f" and {aim.peak_mib:.0f} MiB" if aim.peak_mib else ""
    return f"   aim {aim.seconds:g} s{memory}{': MISSED' if missed else ''}"


if __name__ == "__main__":
    main()

"""What every benchmark here needs: running a command, and finding the program to measure."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Run:
    """What one command took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measured(command: list[str], environment: dict[str, str] | None = None, accepted: tuple[int, ...] = (0,)) -> Run:
    """Runs a command and waits for it; an exit code that is not accepted ends the benchmark."""
    os.sync()
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        sys.exit(f"{' '.join(command)}\nended with {process.returncode}: {said.decode(errors='replace')[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def release_build() -> Path:
    metadata = json.loads(subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"],
                                         cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    found = sorted(Path(metadata["target_directory"]).glob("*/release/bkpctl")) + \
        sorted(Path(metadata["target_directory"]).glob("release/bkpctl"))
    if not found:
        sys.exit("there is no release build: cargo build --release")
    return found[0]

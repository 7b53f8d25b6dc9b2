#!/usr/bin/env python3
"""Boots two machines with kernels of their own, and tries the program on them.

One serves a folder by NFS from its kernel, the other mounts it, as in a homelab with a NAS.
Each case starts from machines without exports, mounts and anything of bkpctl's.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import cases
import image
import zfs
from controller import Controller
from lab import Broken, Machine, Network, Skipped

PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86", "debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs",
    "ip": "iproute2", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "setpriv": "util-linux",
    "unshare": "util-linux",
}


def missing() -> set[str]:
    """Returns the packages of programs that are not there."""
    return {package for program, package in PROGRAMS.items() if not shutil.which(program)}


def obstacle() -> str | None:
    """Installs what is missing; returns why machines can't be started here, if so."""
    if os.geteuid() != 0:
        return "only root can build a system and make a network for it"
    if os.uname().machine != "x86_64":
        return "the machines are x86_64, and so must be the binary that goes there"
    if missing():
        if not shutil.which("apt-get"):
            return f"not installed, and there is no apt-get: {' '.join(sorted(missing()))}"
        print(f"installing {' '.join(sorted(missing()))}", flush=True)
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *sorted(missing())]):
            command = ["apt-get", "-q", *arguments]
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=900, env=environment)
        if missing():
            return f"apt-get could not install {' '.join(sorted(missing()))}"
    if not os.path.exists("/dev/net/tun"):
        return "no machine can have a network here: there is no /dev/net/tun"
    return None


def passes(case: cases.Case, lab: cases.Lab) -> bool | None:
    """Carries one case out and says how it went; none if it can't be tried here."""
    started = time.monotonic()
    trouble = None
    try:
        lab.reset()
        case.carry_out(lab)
    except Skipped as reason:
        print(f"{case.name:<18} skipped\nskipped: {case.name}: {reason}", flush=True)
        return None
    except Broken as broken:
        trouble = str(broken)
    except Exception:  # pylint: disable=broad-except
        # A mistake in a case fails that case, and the others still run.
        trouble = traceback.format_exc()
    print(f"{case.name:<18} {'FAILED' if trouble else 'ok':<8} {time.monotonic() - started:4.0f} s", flush=True)
    if trouble:
        print(f"FAILED: {case.name}: {trouble}", flush=True)
    return not trouble


def zfs_modules(chosen: list[cases.Case], cache: Path, disk: image.Image) -> Path | str | None:
    """Returns ZFS's modules if a case wants them, or why they can't be had."""
    if not any(case.wants_zfs for case in chosen):
        return None
    try:
        return zfs.get(cache, disk)
    except image.CannotBuild as unable:
        return f"ZFS's modules can't be built: {unable}"


def carry_out(options: argparse.Namespace, disk: image.Image, network: Network, folder: Path) -> int:
    """Boots the machines and carries the cases out; returns how many failed."""
    machines: list[Machine] = []
    outcomes: list[bool | None] = []
    chosen = [case for case in cases.ALL if not options.only or case.name in options.only]
    modules = zfs_modules(chosen, options.cache, disk)
    started = time.monotonic()
    try:
        for name, last in (("nas", 20), ("pbs", 15)):
            machines.append(Machine(network, disk, folder, name, last, options.accelerator))
        for machine in machines:
            machine.wait()
        print(f"booted in {time.monotonic() - started:.0f} s", flush=True)
        controller = Controller(options.binary, network, folder)
        for machine in machines:
            controller.pin(machine)
        lab = cases.Lab(*machines, controller, modules)
        for case in chosen:
            outcomes.append(passes(case, lab))
    except Broken as broken:
        print(f"FAILED: the machines are not ready: {broken}")
        outcomes.append(False)
    finally:
        for machine in machines:
            machine.close()
    failed = outcomes.count(False)
    print(
        f"machines: {len(outcomes)} cases, {outcomes.count(True)} passed, {failed} failed,"
        f" {outcomes.count(None)} skipped,"
        f" {time.monotonic() - started:.0f} s"
    )
    return failed


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or Path(__file__).resolve().parents[2] / "target")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path, help="a static bkpctl")
    parser.add_argument("--cache", type=Path, default=target / "tests/machines", help="where the image is kept")
    parser.add_argument("--only", action="append", choices=[case.name for case in cases.ALL], metavar="CASE")
    # Virtualisation by the CPU is quicker where it works, which can't be told beforehand.
    parser.add_argument("--accelerator", default="tcg,thread=multi", help="QEMU's -accel")
    options = parser.parse_args()
    options.binary, options.cache = options.binary.resolve(), options.cache.resolve()
    return options


def main() -> int:
    """Says what is missing, or carries the cases out."""
    options = read_options()
    # A signal ends the program by its usual way, on which the machines and the network go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reason = obstacle()
    if reason:
        print(f"skipped: {reason}")
        return 0
    try:
        disk = image.get(options.cache)
        network = Network()
    except image.CannotBuild as unable:
        print(f"skipped: the machines' image can't be built: {unable}")
        return 0
    except subprocess.CalledProcessError as unable:
        print(f"skipped: no network namespace can be made: {unable}")
        return 0
    try:
        # A socket's name must be short, which a folder below the cache might not be.
        with tempfile.TemporaryDirectory(prefix="bkpctl-machines-") as folder:
            return 1 if carry_out(options, disk, network, Path(folder)) else 0
    finally:
        network.close()


if __name__ == "__main__":
    sys.exit(main())

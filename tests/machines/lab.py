"""A network that nothing else is on, and the machines on it."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

from image import Image

BOOT_SECONDS = 600
COMMAND_SECONDS = 90
COPY_SECONDS = 180


class Broken(Exception):
    """What a case expected did not happen."""


class Skipped(Exception):
    """What a case needs can't be had here."""


class Ran:
    """What a command printed and how it ended."""

    def __init__(self, what: str, code: int, out: str, err: str):
        self.what, self.code, self.out, self.err = what, code, out, err

    def exits(self, *codes: int) -> "Ran":
        """Fails unless it ended with one of these codes."""
        if self.code not in codes:
            wanted = " or ".join(map(str, codes))
            raise Broken(f"it should exit with {wanted}: {self}")
        return self

    def says(self, *texts: str) -> "Ran":
        """Fails unless each text was printed, wherever its lines were broken."""
        words = " ".join((self.out + "\n" + self.err).split())
        for text in texts:
            if text not in words:
                raise Broken(f"it should say {text!r}: {self}")
        return self

    def never_says(self, *texts: str) -> "Ran":
        """Fails if one of these texts was printed."""
        words = " ".join((self.out + "\n" + self.err).split())
        for text in texts:
            if text in words:
                raise Broken(f"it should not say {text!r}: {self}")
        return self

    def __str__(self) -> str:
        return f"{self.what}\nexit {self.code}\n{self.out}{self.err}"


def run(command: list[str], seconds: float, what: str, **options) -> Ran:
    """Runs a command to its end, or fails when its time is over."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True, **options,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        # Whatever it started holds the pipes open, so its whole group ends.
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise Broken(f"{what}\nnot done after {seconds:.0f} s\n{out}{err}") from late
    return Ran(what, process.returncode, out, err)


class Network:
    """A bridge in a network namespace of its own, without a way out."""

    ADDRESS = "10.77.0.1"

    def __init__(self) -> None:
        self.name = f"bkpctl-machines-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            for arguments in (
                "link set lo up",
                "link add bridge0 type bridge",
                f"address add {self.ADDRESS}/24 dev bridge0",
                "link set bridge0 up",
            ):
                self.ip(*arguments.split())
        except BaseException:
            self.close()
            raise

    def ip(self, *arguments: str) -> None:
        """Changes something in the namespace."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def inside(self, *command: str) -> list[str]:
        """Returns a command that runs in the namespace."""
        return ["ip", "netns", "exec", self.name, *command]

    def tap(self, name: str) -> str:
        """Makes a port of the bridge for a machine."""
        self.ip("tuntap", "add", name, "mode", "tap")
        self.ip("link", "set", name, "master", "bridge0", "up")
        return name

    def close(self) -> None:
        """Removes the namespace with everything in it."""
        subprocess.run(["ip", "netns", "delete", self.name], check=False)


class Machine:
    """A machine with a kernel of its own; nothing of what it writes outlasts it."""

    def __init__(self, network: Network, image: Image, folder: Path, name: str, last: int, accelerator: str):
        self.name, self.address = name, f"10.77.0.{last}"
        self.network, self.image, self.folder = network, image, folder
        self.console = folder / f"{name}.console"
        data = folder / f"{name}.data"
        with open(data, "wb") as disk:
            disk.truncate(1 << 30)
        self.process = self.start(data, accelerator, last)

    def start(self, data: Path, accelerator: str, last: int) -> subprocess.Popen:
        """Starts it with a throwaway layer over the image and an empty second disk."""
        words = (
            f"root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet systemd.hostname={self.name}"
            f" systemd.machine_id={last:032x} machine.address={self.address}"
        )
        tap = self.network.tap(f"tap-{self.name}")
        command = [
            # QEMU must not stay behind where this program is killed.
            "setpriv", "--pdeathsig=KILL", "qemu-system-x86_64", "-accel", accelerator,
            "-m", "1024", "-smp", "1", "-display", "none", "-monitor", "none", "-no-reboot",
            "-serial", f"file:{self.console}", "-kernel", str(self.image.kernel),
            "-initrd", str(self.image.initrd), "-append", words,
            "-drive", f"file={self.image.disk},format=raw,if=virtio,snapshot=on",
            "-drive", f"file={data},format=raw,if=virtio",
            "-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=net,mac=52:54:00:00:00:{last:02x}",
            "-device", "virtio-rng-pci",
        ]
        log: IO[str]
        with open(self.folder / f"{self.name}.qemu", "w", encoding="utf-8") as log:
            return subprocess.Popen(
                self.network.inside(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, "TMPDIR": str(self.folder)},
            )

    def wait(self) -> None:
        """Waits until it has booted and lets us in."""
        deadline = time.monotonic() + BOOT_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if self.run("true", seconds=20).code == 0:
                    self.run("systemctl is-system-running --wait", seconds=BOOT_SECONDS)
                    return
            except Broken:
                pass
            time.sleep(1)
        qemu = (self.folder / f"{self.name}.qemu").read_text(errors="replace")
        console = self.console.read_text(errors="replace") if self.console.exists() else ""
        raise Broken(f"{self.name} did not boot:\n{qemu}\n{console[-3000:]}")

    def ssh(self, *arguments: str, program: str = "ssh") -> list[str]:
        """Returns a call of ssh to it; calls share one connection, a handshake takes a second."""
        options = (
            f"-F none -i {self.image.identity} -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5"
            f" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
            f" -o ControlMaster=auto -o ControlPersist=yes -o ControlPath={self.folder}/{self.name}.ssh"
        )
        return self.network.inside(program, *options.split(), *arguments)

    def run(self, script: str, seconds: float = COMMAND_SECONDS) -> Ran:
        """Runs a script on it as root."""
        return run(self.ssh(f"root@{self.address}", "sh -c " + shlex.quote(script)), seconds, f"{self.name}# {script}")

    def does(self, script: str, seconds: float = COMMAND_SECONDS) -> str:
        """Runs a script that must succeed, and returns what it printed."""
        return self.run("set -e\n" + script, seconds).exits(0).out.strip()

    def put(self, file: Path, to: str) -> None:
        """Copies a file to it."""
        run(self.ssh(str(file), f"root@{self.address}:{to}", program="scp"), COPY_SECONDS, f"copy {file.name}").exits(0)

    def becomes(self, script: str, seconds: float = COMMAND_SECONDS) -> None:
        """Waits until a script succeeds on it."""
        deadline = time.monotonic() + seconds
        while (ran := self.run(script)).code != 0:
            if time.monotonic() > deadline:
                raise Broken(f"after {seconds:.0f} s still not so: {ran}")
            time.sleep(0.5)

    def pause(self) -> None:
        """Stops it where it stands, as if its cable were pulled."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on after a pause."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it, as if its power went."""
        subprocess.run(
            self.ssh("-O", "exit", f"root@{self.address}"),
            check=False, capture_output=True, timeout=20,
        )
        self.process.kill()
        self.process.wait(timeout=20)

"""The program under test, as a person runs it who has logins on the machines."""

import json
import os
import shutil
from pathlib import Path

from lab import Machine, Network, Ran, run

PLAN_SECONDS = 120
APPLY_SECONDS = 300


class Controller:
    """A home and a topology's folder on this machine, in the machines' network."""

    def __init__(self, binary: Path, network: Network, folder: Path):
        self.binary, self.network = binary, network
        self.home, self.folder = folder / "home", folder / "topology"
        self.pins: dict[str, str] = {}
        self.clear()

    def clear(self) -> None:
        """Forgets everything of the last case but the pinned host keys."""
        for path in (self.home, self.folder):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()

    def bkpctl(self, *arguments: str, seconds: float = PLAN_SECONDS) -> Ran:
        """Runs the program in the topology's folder."""
        command = self.network.inside(str(self.binary), *arguments)
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
        return run(command, seconds, f"$ bkpctl {' '.join(arguments)}", cwd=self.folder, env=environment)

    def node(self, machine: Machine) -> str:
        """Returns a machine as a topology names it."""
        words = f'identity-file "{machine.image.identity}"; {self.pins.get(machine.name, "")}'
        login = f'ssh "root@{machine.address}" {{ {words} }}'
        return f'node "{machine.name}" {{ {login} }}\n'

    def write(self, text: str) -> None:
        """Writes the topology."""
        (self.folder / "topology.kdl").write_text(text)

    def pin(self, machine: Machine) -> None:
        """Pins the host key that the program prints, once it is the one that the machine has."""
        self.write(f'topology "pin" id="pinpinpin1"\n{self.node(machine)}')
        printed = self.bkpctl("host-key", machine.name).exits(0)
        key = machine.does("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
        line = printed.says(f'host-key "{key}"').out.splitlines()[0]
        # A fingerprint follows as a comment, which would hide what comes after it on one line.
        self.pins[machine.name] = line.partition("    //")[0]

    def findings(self) -> list[dict]:
        """Makes a plan and returns its findings."""
        return json.loads(self.bkpctl("plan", "--json").exits(0).out)["findings"]

    def free(self, node: str, path: str) -> int:
        """Makes a plan and returns how many bytes it takes for free on a filesystem."""
        lines = json.loads(self.bkpctl("plan", "--json").exits(0, 2).out)["capacity"]
        return next(line["free_before"] for line in lines if (line["node"], line["mount"]) == (node, path))

    def snapshots(self) -> list[dict]:
        """Returns the snapshots that are there."""
        return json.loads(self.bkpctl("snapshots", "--json").exits(0).out)["snapshots"]

    def apply(self, *arguments: str) -> Ran:
        """Carries the topology out, with every yes that the arguments give."""
        return self.bkpctl("apply", "--auto-approve", *arguments, seconds=APPLY_SECONDS).exits(0)

    def in_sync(self) -> None:
        """Fails unless a plan has nothing to do."""
        self.bkpctl("plan", "--detail", "--detailed-exitcode").exits(0)

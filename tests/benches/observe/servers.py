"""OpenSSH servers in network namespaces of their own, with a delay on the way to them.

A controller's namespace has a bridge to one namespace for each server. Nothing is reached
from outside and nothing outside is reached. Kernels without netem are common, so the delay is
made by a proxy in the controller's namespace, one port a server: whatever arrives goes on half
a round trip later, and a connection is made after a whole one.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

FIRST_PORT = 22001


class Servers:
    """Servers that are reached at `127.0.0.1`, port 22001 and up, from within the controller's namespace."""

    def __init__(self, work: Path, count: int, round_trip: float):
        self.work = work
        self.count = count
        self.round_trip = round_trip
        self.controller = f"bkpctl-observe-{os.getpid()}"
        self.processes: list[subprocess.Popen] = []
        self.spaces: list[str] = []

    @property
    def ports(self) -> list[int]:
        return [FIRST_PORT + number for number in range(self.count)]

    @property
    def identity(self) -> Path:
        return self.work / "identity"

    def host_key(self) -> str:
        """Returns the servers' public key, which all share, without its comment."""
        return " ".join((self.work / "host_key.pub").read_text().split()[:2])

    def inside(self, command: list[str]) -> list[str]:
        """Returns a command that runs in the controller's namespace."""
        return ["ip", "netns", "exec", self.controller, *command]

    def __enter__(self) -> "Servers":
        try:
            self.make_keys()
            self.make_spaces()
            for number in range(self.count):
                self.start_server(number)
            proxy = [sys.executable, __file__, str(self.count), str(self.round_trip)]
            self.processes.append(subprocess.Popen(self.inside(proxy)))
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        for space in reversed(self.spaces):
            subprocess.run(["ip", "netns", "delete", space], check=False)

    def make_keys(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        for name in ("identity", "host_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.work / name))
        shutil.copy(self.work / "identity.pub", self.work / "authorized_keys")

    def make_spaces(self) -> None:
        self.space(self.controller)
        run(*self.inside(["ip", "link", "add", "hub", "type", "bridge"]))
        run(*self.inside(["ip", "address", "add", "10.213.0.1/16", "dev", "hub"]))
        run(*self.inside(["ip", "link", "set", "hub", "up"]))
        for number in range(self.count):
            name = f"{self.controller}-{number}"
            self.space(name)
            run(*self.inside(["ip", "link", "add", f"to{number}", "type", "veth", "peer", "name", "hub", "netns", name]))
            run(*self.inside(["ip", "link", "set", f"to{number}", "master", "hub", "up"]))
            run("ip", "-n", name, "address", "add", f"{address(number)}/16", "dev", "hub")
            run("ip", "-n", name, "link", "set", "hub", "up")

    def space(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self.spaces.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def start_server(self, number: int) -> None:
        config = self.work / f"sshd-{number}"
        config.write_text(
            f"ListenAddress {address(number)}\nPort 22\nHostKey {self.work}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {self.work}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PrintMotd no\nMaxStartups 100\n"
            # What this machine's shells do when they start is no part of it.
            f"SetEnv HOME={self.work}\n")
        with open(self.work / f"log-{number}", "wb") as log:
            self.processes.append(subprocess.Popen(
                ["ip", "netns", "exec", f"{self.controller}-{number}", "/usr/sbin/sshd", "-D", "-e", "-f", str(config)],
                stderr=log))

    def wait(self) -> None:
        """Waits until each server shows its banner through the proxy."""
        probe = ("import socket,sys\n"
                 "for port in map(int, sys.argv[1:]):\n"
                 "    with socket.create_connection(('127.0.0.1', port), 5) as s:\n"
                 "        s.settimeout(5); assert s.recv(4) == b'SSH-', port\n")
        deadline = time.monotonic() + 30
        while True:
            asked = subprocess.run(self.inside([sys.executable, "-c", probe, *map(str, self.ports)]),
                                   capture_output=True, text=True)
            if asked.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the servers do not answer: {asked.stderr}")
            time.sleep(0.2)


def address(number: int) -> str:
    return f"10.213.1.{number + 1}"


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Half(asyncio.Protocol):
    """One side of a connection through the proxy: what it says reaches the other half later."""

    def __init__(self, delay: float):
        self.delay = delay
        self.other: Half | None = None
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            asyncio.get_running_loop().call_later(self.delay, self.other.say, data)

    def eof_received(self) -> bool:
        self.later(lambda other: other.transport.write_eof())
        return True

    def connection_lost(self, _) -> None:
        self.later(lambda other: other.transport.close())

    def later(self, act) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self.delay, self.other.while_open, act)

    def say(self, data: bytes) -> None:
        self.while_open(lambda own: own.transport.write(data))

    def while_open(self, act) -> None:
        if not self.transport.is_closing():
            act(self)


class Client(Half):
    """The side that connected: its server is reached one round trip later."""

    def __init__(self, number: int, delay: float):
        super().__init__(delay)
        self.number = number

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        loop.call_later(2 * self.delay, lambda: loop.create_task(self.reach()))

    async def reach(self) -> None:
        server = Half(self.delay)
        await asyncio.get_running_loop().create_connection(lambda: server, address(self.number), 22)
        self.other, server.other = server, self
        for data in self.early:
            self.data_received(data)


async def proxy(count: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    for number in range(count):
        await loop.create_server(lambda number=number: Client(number, round_trip / 2), "127.0.0.1", FIRST_PORT + number)
    await ended.wait()
    # Connections that tools keep open end with the process.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(proxy(int(sys.argv[1]), float(sys.argv[2])))

#!/usr/bin/env python3
"""How long it takes to see what is true on many nodes, beside ansible and pyinfra.

    python3 tests/benches/observe/run.py --work FOLDER

Starts 20 OpenSSH servers in network namespaces of its own, 20 ms of round trip away, and has
each tool look at all of them: `bkpctl plan` of a topology with a source on each node; `ansible
-m setup` with 20 forks, pipelining and connections that are open already; pyinfra gathering
like facts. Tools take turns; medians count. Needs root, OpenSSH, iproute2 and Python with venv.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from measure import Run, measured, release_build  # noqa: E402
from servers import Servers  # noqa: E402

ROUND_TRIP = 0.020


class Tool:
    """One tool, with a folder and a home of its own."""

    name = ""

    def __init__(self, work: Path, servers: Servers, program: Path):
        self.work = work / self.name
        self.servers = servers
        self.program = program

    def version(self) -> str:
        return said([str(self.program), "--version"]).splitlines()[0]

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.work), "LC_ALL": "C.UTF-8"}


class Bkpctl(Tool):
    name = "bkpctl"

    def prepare(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        nodes, sources = [], []
        for number, port in enumerate(self.servers.ports):
            nodes.append(f'node "n{number}" {{\n    ssh "root@127.0.0.1" port={port} {{\n'
                         f'        host-key "{self.servers.host_key()}"\n'
                         f'        identity-file "{self.servers.identity}"\n    }}\n}}\n')
            sources.append(f'source "etc-{number}" on="n{number}" {{ path "/etc" }}\n')
        names = " ".join(f'"etc-{number}"' for number in range(len(nodes)))
        (self.work / "topology.kdl").write_text(
            'topology "bench" id="bench0001"\nservice-user "backup" uid=34 gid=34\n' + "".join(nodes)
            + 'key "main" { file "main.key"; create }\n'
            + 'datastore "primary" {\n    place "n0" path="/var/tmp/bkpctl-bench-store"\n    owner "backup"\n    keep last=3\n}\n'
            + "".join(sources)
            + f'phase "baseline" {{\n    backup "nightly" {{ source {names}; to "primary" }}\n}}\n')

    def command(self) -> list[str]:
        return [str(self.program), "plan", "--json", str(self.work)]

    def check(self, output: str) -> None:
        nodes = json.loads(output)["nodes"]
        missed = [node for node in nodes if node.get("unreachable")]
        if missed or len(nodes) != self.servers.count:
            sys.exit(f"not every node was seen: {missed[:2]}")


class Ansible(Tool):
    name = "ansible"

    def prepare(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        installed(self.program, "ansible-core")
        lines = [f"n{number} ansible_host=127.0.0.1 ansible_port={port} ansible_user=root "
                 f"ansible_ssh_private_key_file={self.servers.identity} ansible_python_interpreter={sys.executable}"
                 for number, port in enumerate(self.servers.ports)]
        (self.work / "inventory").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(self.program), "all", "-i", str(self.work / "inventory"), "-m", "setup",
                "-f", str(self.servers.count)]

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=600 -o StrictHostKeyChecking=no "
                                "-o UserKnownHostsFile=/dev/null",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.work / "c"),
        }

    def check(self, output: str) -> None:
        if output.count("SUCCESS") != self.servers.count:
            sys.exit(f"ansible did not reach every node: {output[:500]}")

    def close(self) -> None:
        """Ends the connections that were kept open."""
        for socket in (self.work / "c").glob("*"):
            subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "x"], capture_output=True)


class Pyinfra(Tool):
    name = "pyinfra"

    def prepare(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        installed(self.program, "pyinfra")
        hosts = [(f"n{number}", {"ssh_hostname": "127.0.0.1", "ssh_port": port, "ssh_user": "root",
                                 "ssh_key": str(self.servers.identity), "ssh_strict_host_key_checking": "no",
                                 "ssh_known_hosts_file": "/dev/null"})
                 for number, port in enumerate(self.servers.ports)]
        (self.work / "inventory.py").write_text(f"hosts = {hosts!r}\n")
        (self.work / "facts.py").write_text(
            "from pyinfra import host\nfrom pyinfra.facts import files, server\n"
            "for fact in (server.Hostname, server.Kernel, server.LinuxDistribution, server.Date, server.Users,\n"
            "             server.Mounts):\n    host.get_fact(fact)\n"
            "for path in ('/etc', '/var/tmp/bkpctl-bench-store', '/var/lib/bkpctl'):\n"
            "    host.get_fact(files.Directory, path=path)\n"
            "for program in ('getent', 'setpriv', 'systemctl'):\n"
            "    host.get_fact(server.Which, command=program)\n")

    def command(self) -> list[str]:
        return [str(self.program), "--yes", "--dry", str(self.work / "inventory.py"),
                str(self.work / "facts.py")]

    def check(self, output: str) -> None:
        if "No hosts remaining" in output:
            sys.exit(f"pyinfra did not reach the nodes: {output[:500]}")


def installed(program: Path, package: str) -> None:
    """Installs a package into the environment that its program is to be in."""
    folder = program.parents[1]
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "--quiet", package], check=True)


def said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def warm(servers: Servers, tool) -> None:
    """Runs a tool once, so that its connections and files are where they will be, and checks it."""
    done = subprocess.run(servers.inside(tool.command()), env=tool.environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{tool.name} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    tool.check(done.stdout + (done.stderr if tool.name == "pyinfra" else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for programs and servers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--bkpctl", type=Path, help="the program (default: the release build)")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("network namespaces are root's to make: run this as root")

    work = arguments.work.resolve()
    program = (arguments.bkpctl or release_build()).resolve()
    with Servers(work / "servers", arguments.nodes, ROUND_TRIP) as servers:
        peers = [tool(work, servers, work / "programs" / tool.name / "bin" / tool.name) for tool in (Ansible, Pyinfra)]
        tools = [Bkpctl(work, servers, program), *peers]
        for tool in tools:
            tool.prepare()
        print(f"{os.cpu_count()} cores, Linux {platform.release()}, {arguments.nodes} nodes, "
              f"{ROUND_TRIP * 1000:.0f} ms of round trip")
        for tool in tools:
            print(f"{tool.name:8} {tool.version()}")
            warm(servers, tool)
        runs: dict[str, list[Run]] = {tool.name: [] for tool in tools}
        for number in range(arguments.rounds):
            turn = number % len(tools)
            for tool in tools[turn:] + tools[:turn]:
                run = measured(servers.inside(tool.command()), tool.environment())
                runs[tool.name].append(run)
                print(f"  {tool.name:8} {run.seconds:6.2f} s  {run.cpu_seconds:6.2f} cpu-s  {run.peak_mib:5.0f} MiB",
                      flush=True)
        peers[0].close()
    ours = statistics.median(run.seconds for run in runs["bkpctl"])
    print("\nmedians, seconds")
    for name, of_tool in runs.items():
        seconds = statistics.median(run.seconds for run in of_tool)
        peak = max(run.peak_mib for run in of_tool)
        print(f"{name:8} {seconds:6.2f}   {seconds / ours:5.1f} times bkpctl's   peak {peak:.0f} MiB")
    result = work / "result.json"
    result.write_text(json.dumps({name: [asdict(run) for run in of_tool] for name, of_tool in runs.items()}, indent=1))
    print(f"\nevery run: {result}")


if __name__ == "__main__":
    main()

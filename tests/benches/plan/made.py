"""A topology of many nodes, and facts of them in the form of `bkpctl observe --save`.

Ten nodes make a site: a file server with a share and two datastores, a Proxmox VE host, a
container on it that mounts the share, and seven hosts. What is protected is on the host and the
seven, five sources each. Every site copies to its own primary datastore, from there to a second
one, and, in a later phase, to the file server of the next site.

No fact is invented: bkpctl backs up a folder on this machine, twice over and proven by a restore,
and `observe --save` is asked before and after. What it wrote is taken once for each node with
names, paths and times changed. What a machine without an NFS server and without containers has no
facts of (exports, mounts, id maps) has the form of the golden cases in `tests/cases/plan`, and the
text of files that bkpctl keeps on nodes comes from its own plan for them.

    python3 tests/benches/plan/made.py FOLDER --nodes 500 --sources 2000
"""

import argparse
import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1])]

from measure import release_build  # noqa: E402

SITE = 10
HOUR = 3_600_000_000_000
DAY = 24 * HOUR
# How many snapshots of a source, and how many days of it, a look tells.
HEADS, DAYS = 8, 30
TREES = ("etc", "srv", "home", "lib", "db")
PATHS = {"etc": "/etc", "srv": "/srv", "home": "/home", "lib": "/var/lib/app", "db": "/var/lib/db"}
OWNER = {"uid": 34, "gid": 34}
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0b6iQ2vVf1yG4H1zqv0p5E3kJ8wX6m0c9r7s2t4u5v"


class Site:
    """The names and addresses of ten nodes that belong together."""

    def __init__(self, number: int, count: int, nodes: int, sources: int):
        self.number = number
        self.tag = f"{number:03}"
        self.nas, self.pve, self.pbs = (f"{kind}-{self.tag}" for kind in ("nas", "pve", "pbs"))
        self.hosts = [f"host-{self.tag}-{host}" for host in range(nodes - 3)]
        self.next_nas = f"nas-{(number + 1) % count:03}"
        read = [self.pve, *self.hosts]
        trees = [(node, tree) for tree in TREES for node in read]
        self.sources = {f"{tree}-{node}": (node, PATHS[tree]) for node, tree in trees[:sources]}
        if len(self.sources) < sources:
            sys.exit(f"a site has at most {len(trees)} sources")

    def address(self, node: str) -> str:
        at = [self.nas, self.pve, self.pbs, *self.hosts].index(node)
        return f"10.{20 + self.number // 250}.{self.number % 250}.{10 + at}"

    @property
    def names(self) -> str:
        return " ".join(f'"{name}"' for name in self.sources)

    # What is the matter with some sites: one thing in ten each.

    @property
    def lacks_second(self) -> bool:
        return self.number % 10 == 3

    @property
    def is_roots(self) -> bool:
        return self.number % 10 == 5

    @property
    def is_late(self) -> bool:
        return self.number % 10 == 7


def sites(nodes: int, sources: int) -> list[Site]:
    count = nodes // SITE
    if count < 2 or nodes % SITE or sources % count:
        sys.exit(f"nodes come in {SITE}s, twenty or more, with as many sources at each site")
    return [Site(number, count, SITE, sources // count) for number in range(count)]


class Topology:
    """The files of a topology."""

    def __init__(self, folder: Path, all_sites: list[Site]):
        self.folder = folder
        self.sites = all_sites

    def write(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("nodes", "datastores", "sources"):
            (self.folder / part).mkdir(parents=True)
        (self.folder / "topology.kdl").write_text(
            '/- kdl-version 2\ntopology "fleet" id="fleet00001"\n\n'
            'include "nodes/*.kdl" "datastores/*.kdl" "sources/*.kdl" "phases.kdl"\n\n'
            'service-user "backup" uid=34 gid=34\n'
            'template "rack" { reserve "/" "10%" }\n'
            'node "control" { local; scratch "/var/tmp" }\n'
            'key "fleet" { file "fleet.key" }\n\n'
            'policy { copies 2; media 2; rpo "30h"; drill-within "30d" }\n')
        # A topology has at most two hundred files, so some sites share theirs.
        for first in range(0, len(self.sites), 5):
            group = self.sites[first:first + 5]
            for part, text in (("nodes", self.nodes), ("datastores", self.datastores), ("sources", self.sources)):
                file = self.folder / part / f"sites-{group[0].tag}.kdl"
                file.write_text("".join(text(site) for site in group))
        (self.folder / "phases.kdl").write_text(self.phases())

    def nodes(self, site: Site) -> str:
        text = []
        for node in (site.nas, site.pve, site.pbs, *site.hosts):
            inside = f'    container {100 + site.number} on="{site.pve}" kind="privileged"\n' if node == site.pbs else ""
            text.append(f'node "{node}" {{\n    ssh "root@{site.address(node)}" {{\n        host-key "{HOST_KEY}"\n    }}\n'
                        f'{inside}    domain site="{site.tag}"\n    use "rack"\n}}\n')
        return "".join(text)

    def sources(self, site: Site) -> str:
        return "".join(f'source "{name}" on="{node}" {{ path "{path}"; exclude "*.tmp" "*.cache" }}\n'
                       for name, (node, path) in site.sources.items())

    def datastores(self, site: Site) -> str:
        tag = site.tag
        return (f'share "tank-{tag}" on="{site.nas}" {{ export "/mnt/tank/pbs"; owner "backup" mode="0750" }}\n'
                f'datastore "primary-{tag}" {{\n'
                f'    place "{site.pbs}" path="/mnt/datastore/primary" {{ mount share="tank-{tag}" options="vers=4.2,hard" }}\n'
                '    owner "backup" mode="0750"\n    keep last=3 daily=7 weekly=4 monthly=12\n}\n'
                f'datastore "second-{tag}" {{\n    place "{site.nas}" path="/mnt/tank/second"\n'
                '    owner "backup" mode="0750"\n    keep daily=30 monthly=12\n    reserve "10%"\n}\n'
                f'datastore "far-{tag}" {{\n    place "{site.next_nas}" path="/mnt/tank/far-{tag}"\n'
                '    owner "backup" mode="0750"\n    keep weekly=8\n}\n')

    def phases(self) -> str:
        first, later = [], []
        for site in self.sites:
            tag = site.tag
            first += [f'    backup "nightly-{tag}" {{ source {site.names}; to "primary-{tag}"; at "02:00" }}\n',
                      f'    sync "again-{tag}" {{ from "primary-{tag}"; to "second-{tag}"; at "04:00" }}\n',
                      f'    drill "proof-{tag}" {{ source {site.names}; from "second-{tag}"; every "30d" }}\n']
            later.append(f'    sync "away-{tag}" {{ from "second-{tag}"; to "far-{tag}"; at "06:00" }}\n')
        return f'phase "baseline" {{\n{"".join(first)}}}\nphase "away" after="baseline" {{\n{"".join(later)}}}\n'


class Recorded:
    """What bkpctl itself said of a node before and after its first copies."""

    TOPOLOGY = '''topology "model" id="model00001"
service-user "backup" uid=%(uid)d gid=%(gid)d
node "model" { local; agent path="state"; scratch "scratch" }
key "model" { file "model.key"; create }
datastore "near" { place "model" path="%(folder)s/near"; owner "backup" mode="0750"; keep last=3 }
datastore "far" { place "model" path="%(folder)s/far"; owner "backup" mode="0750"; keep last=3 }
source "tree" on="model" { path "%(folder)s/tree" }
phase "baseline" {
    backup "nightly" { source "tree"; to "near" }
    sync "again" { from "near"; to "far" }
    drill "proof" { source "tree"; from "far"; every "7d" }
}
'''

    def __init__(self, work: Path, program: Path):
        folder = work / "model"
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("tree", "scratch"):
            (folder / part).mkdir(parents=True)
        for number in range(100):
            (folder / "tree" / f"file-{number}").write_bytes(os.urandom(1000))
        (folder / "topology.kdl").write_text(
            self.TOPOLOGY % {"folder": folder, "uid": os.getuid(), "gid": os.getgid()})
        self.program, self.folder = program, folder
        before = self.observed("before.json")
        said(program, "apply", "--auto-approve", str(folder))
        after = self.observed("after.json")
        self.binary, self.key = after["binary"], after["keys"]["model"]
        fresh, node = (facts["nodes"]["model"]["reached"] for facts in (before, after))
        near = str(folder / "near")
        self.path_there, self.path_missing = node["paths"][near], fresh["paths"][near]
        self.path_read, self.source = node["paths"][str(folder / "tree")], node["sources"]["tree"]
        self.store, self.no_store = node["datastores"]["far"], fresh["datastores"]["far"]
        self.head, self.proof = self.store["snapshots"]["tree"][0], self.store["proofs"][0]
        self.day = self.store["history"]["tree"][0]
        self.node = node

    def observed(self, name: str) -> dict:
        file = self.folder / name
        said(self.program, "observe", "--save", str(file), str(self.folder))
        return json.loads(file.read_text())["observed"]


class Facts:
    """The facts of a topology's nodes, each made from what was recorded."""

    def __init__(self, recorded: Recorded, all_sites: list[Site], at: int):
        self.recorded = recorded
        self.sites = all_sites
        self.at = at
        self.nodes: dict[str, dict] = {"control": self.reached("control", "local")}
        for site in all_sites:
            self.add(site)
        for site in all_sites:
            # The one next door serves it.
            self.store(site, f"far-{site.tag}", site.next_nas, f"/mnt/tank/far-{site.tag}", every=7)

    def document(self, down: str) -> dict:
        nodes = {name: {"reached": facts} for name, facts in self.nodes.items()}
        nodes[down] = {"unreachable": {
            "kind": "connect",
            "message": f"connect to {self.nodes[down]['via']}: Connection refused (os error 111)"}}
        return {"format": 1, "topology": "fleet00001", "at": self.at, "observed": {
            "nodes": nodes, "keys": {"fleet": self.recorded.key}, "binary": self.recorded.binary}}

    def add(self, site: Site) -> None:
        for node in (site.nas, site.pve, site.pbs, *site.hosts):
            self.nodes[node] = self.reached(node, f"root@{site.address(node)}:22")
        nas, pve, pbs = (self.nodes[node] for node in (site.nas, site.pve, site.pbs))
        address, server = site.address(site.pbs), site.address(site.nas)
        everything = [{"inside": 0, "outside": 0, "count": 4294967295}]
        pve["containers"] = {str(100 + site.number): {
            "running": True, "map": {"uids": everything, "gids": everything}, "may_mount_nfs": True}}
        nas["tools"] |= {"exportfs": True, "midclt": False}
        nas["nfs"] = {"manages_groups": True, "exports": [{
            "path": "/mnt/tank/pbs", "clients": address, "squashing": {"of": "root", "uid": 65534, "gid": 65534},
            "read_only": False, "subtree_check": False, "security": ["sys"]}]}
        nas["paths"]["/mnt/tank/pbs"] = self.path(self.recorded.path_there, "/mnt/tank/pbs", "/mnt/tank")
        pbs["tools"]["mount.nfs"] = True
        pbs |= {"addresses": [address], "fstab": ["/"], "routes": {server: address}}
        for name, (node, path) in site.sources.items():
            facts = self.nodes[node]
            facts["paths"][path] = self.path(self.recorded.path_read, path, "/")
            facts["sources"][name] = self.recorded.source | {"bytes": sized(name)}
        primary, second = f"primary-{site.tag}", f"second-{site.tag}"
        self.store(site, primary, site.pbs, "/mnt/datastore/primary")
        mount = pbs["paths"]["/mnt/datastore/primary"]["mount"]
        mount |= {"target": "/mnt/datastore/primary", "source": f"{server}:/mnt/tank/pbs", "fstype": "nfs4",
                  "device": "0:52"}
        # The server sees what its client sees, and is asked first.
        nas["datastores"][primary] = copy.deepcopy(pbs["datastores"][primary])
        self.store(site, second, site.nas, "/mnt/tank/second", proofs=True, there=not site.lacks_second)
        if site.is_roots:
            for path in (nas["paths"]["/mnt/tank/pbs"], pbs["paths"]["/mnt/datastore/primary"]):
                path["components"][-1] |= {"uid": 0, "gid": 0}
            for store in (nas["datastores"][primary], pbs["datastores"][primary]):
                store |= {"owner_may_write": False, "foreign_entries": 1204, "foreign_example": "packs 0:0"}

    def reached(self, name: str, via: str) -> dict:
        """A node on which nothing but bkpctl itself is."""
        facts = copy.deepcopy(self.recorded.node)
        folder = f"/var/lib/bkpctl/fleet/{name}"
        facts |= {"via": via, "hostname": name, "machine_id": f"{hash_of(name):032x}", "clock": self.at,
                  "users": {"backup": OWNER, "34": OWNER | {"user": "backup"}},
                  "paths": {path: self.path(self.recorded.path_there, path, "/", OWNER | {"uid": 0, "gid": 0})
                            for path in ("/", "/var/tmp")},
                  "state": {"folder": folder, "registry": None,
                            "binaries": [self.recorded.binary["hash"]] if via != "local" else []},
                  "datastores": {}, "sources": {}}
        facts["login"] |= {"user": "root", "uid": 0, "gid": 0, "groups": [0], "privileged": True}
        return facts

    def path(self, form: dict, path: str, mounted: str, owner: dict = OWNER) -> dict:
        """A path as it was recorded, with other components."""
        facts = copy.deepcopy(form)
        parts = [part for part in path.split("/") if part]
        paths = ["/", *("/" + "/".join(parts[:count + 1]) for count in range(len(parts)))]
        if form["outcome"] == "missing":
            paths = paths[:-1]
        above = form["components"][0]
        facts["components"] = [above | {"path": each} for each in paths]
        if form["outcome"] == "ok" and form is self.recorded.path_there:
            facts["components"][-1] = form["components"][-1] | {"path": path} | owner
        facts["mount"] |= {"target": mounted, "device": "8:1" if mounted == "/" else "8:17",
                           "source": "/dev/sda1" if mounted == "/" else "/dev/sdb1"}
        if facts["space"]:
            total = (1 << 37) if mounted == "/" else (1 << 44)
            facts["space"] |= {"total": total, "free": total // 2}
        return facts

    def store(self, site: Site, name: str, node: str, path: str, proofs=False, there=True, every=1) -> None:
        """A datastore where it is served, with snapshots of every source of the site."""
        recorded, facts = self.recorded, self.nodes[node]
        facts["paths"][path] = self.path(recorded.path_there if there else recorded.path_missing, path, "/mnt/tank")
        if not there:
            facts["datastores"][name] = copy.deepcopy(recorded.no_store)
            return
        age = (40 if site.is_late else 5) * HOUR
        newest = self.at - age
        store = copy.deepcopy(recorded.store)
        store["marker"] |= {"repository": f"{hash_of(name):032x}", "home": self.nodes[node]["machine_id"]}
        store |= {"managed": None, "snapshots": {}, "counts": {}, "history": {}, "proofs": []}
        for source, (writer, _) in site.sources.items():
            size = sized(source)
            sizes = {"bytes": size, "new_bytes": size // 50, "stored_bytes": size // 100}
            store["snapshots"][source] = [
                recorded.head | sizes | {
                    "id": f"{hash_of(f'{name} {source} {number}'):032x}", "source": source, "writer": writer,
                    "machine": self.nodes[writer]["machine_id"], "started": newest - number * every * DAY,
                    "finished": newest - number * every * DAY + HOUR // 10}
                for number in range(HEADS)]
            store["counts"][source] = DAYS // every
            store["history"][source] = [
                recorded.day | {"day": (newest // DAY - number * every) * DAY, "snapshots": 1,
                                "stored": size // 100, "bytes": size - number * (size // 1000)}
                for number in range(DAYS // every)]
            if proofs:
                store["proofs"].append(recorded.proof | {
                    "drill": f"proof-{site.tag}", "source": source, "at": newest - 5 * DAY, "bytes": size,
                    "snapshot": store["snapshots"][source][5]["id"]})
        facts["datastores"][name] = store

    def write_down(self, actions: list[dict]) -> None:
        """Takes what bkpctl would write on nodes for written, and forgets what it would do besides."""
        served = {name: [facts["datastores"][name] for facts in self.nodes.values() if name in facts["datastores"]]
                  for facts in self.nodes.values() for name in facts["datastores"]}
        for action in actions:
            kind, step = next(iter(action["step"].items()))
            facts = self.nodes[action["node"]]
            if kind == "register":
                facts["state"]["registry"] = step["registry"]
            elif kind in ("export", "mount"):
                facts.setdefault("files", {})[step["file"]] = step["content"]
            elif kind == "write_managed":
                for store in served[step["datastore"]]:
                    if store["marker"]:
                        store["managed"] = step["managed"]


def hash_of(text: str) -> int:
    """A number that is the same at every run."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())


def sized(source: str) -> int:
    """How large a source is: between 64 MiB and 32 GiB."""
    return (64 << 20) << (hash_of(source) % 10)


def said(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"bkpctl {' '.join(arguments)}\nended with {done.returncode}: {(done.stderr or done.stdout)[-3000:]}")
    return done.stdout


def planned(program: Path, topology: Path, facts: Path) -> dict:
    """Returns the plan for facts; that a node is not reached or a rule is broken is part of it."""
    done = subprocess.run([str(program), "plan", "--json", "--facts", str(facts), str(topology)],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not done.stdout.startswith("{"):
        sys.exit(f"there is no plan: {done.stderr[-3000:]}")
    return json.loads(done.stdout)


def make(work: Path, nodes: int, sources: int, program: Path) -> tuple[Path, Path, dict]:
    """Makes a topology and facts below a folder, and returns them with the plan for them."""
    work.mkdir(parents=True, exist_ok=True)
    all_sites = sites(nodes, sources)
    topology, file = work / "topology", work / "facts.json"
    Topology(topology, all_sites).write()
    recorded = Recorded(work, program)
    facts = Facts(recorded, all_sites, recorded.node["clock"])
    down = all_sites[1].hosts[0]
    # First nothing is written down on the nodes, so the plan says what that would be; then it is.
    for _ in range(2):
        file.write_text(json.dumps(facts.document(down), indent=2))
        plan = planned(program, topology, file)
        facts.write_down(plan["actions"])
    file.write_text(json.dumps(facts.document(down), indent=2))
    return topology, file, planned(program, topology, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--sources", type=int, default=2000)
    parser.add_argument("--bkpctl", type=Path, help="the program (default: the release build)")
    arguments = parser.parse_args()
    program = (arguments.bkpctl or release_build()).resolve()
    places = make(arguments.folder.resolve(), arguments.nodes, arguments.sources, program)
    print(*places[:2], sep="\n")

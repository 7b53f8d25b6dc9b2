"""The tools that are compared: how each is installed, asked for its version, and run.

All encrypt, all compress with zstd level 3 or what the tool calls its like, and each gets a
cache folder and a home of its own, so that nothing of the user's is read or changed.
"""

import glob
import os
import shutil
import subprocess
from pathlib import Path

SECRET = "benchmark"


class Tool:
    """One tool with one repository at a time below `work`."""

    name = ""
    options = ""
    can_verify = True

    def __init__(self, programs: Path, work: Path):
        self.programs = programs
        self.work = work / self.name
        self.repository = self.work / "repository"

    def installed(self) -> Path:
        """Returns the program, installing it below `programs` if it is not there."""
        raise NotImplementedError

    def version(self) -> str:
        return output([str(self.installed()), "--version"]).strip().splitlines()[0]

    def environment(self) -> dict[str, str]:
        home = str(self.work / "home")
        return {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "XDG_CACHE_HOME": home + "/cache",
            "XDG_CONFIG_HOME": home + "/config",
            "LC_ALL": "C.UTF-8",
        }

    def fresh(self) -> None:
        """Makes an empty repository and forgets the old one with its caches."""
        shutil.rmtree(self.work, ignore_errors=True)
        (self.work / "home").mkdir(parents=True)
        for command in self.init():
            subprocess.run(command, env=self.environment(), check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)

    def init(self) -> list[list[str]]:
        raise NotImplementedError

    def backup(self, path: Path) -> list[str]:
        raise NotImplementedError

    def restore(self, to: Path) -> list[str]:
        raise NotImplementedError

    def restore_image(self, to: Path) -> list[str]:
        return self.restore(to)

    def verify(self) -> list[str]:
        raise NotImplementedError

    def stored(self) -> int:
        """Returns the repository's size in bytes."""
        total = 0
        for folder, _, names in os.walk(self.repository):
            total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        return total


class Bkpctl(Tool):
    name = "bkpctl"
    options = "key file, defaults"

    def __init__(self, programs: Path, work: Path, program: Path):
        super().__init__(programs, work)
        self.program = program

    def installed(self) -> Path:
        return self.program

    def key(self) -> list[str]:
        return ["--key-file", str(self.work / "key")]

    def init(self):
        return [[str(self.program), "store", "init", str(self.repository), *self.key()]]

    def backup(self, path):
        kind = ["--image", str(path)] if path.is_file() else [str(path)]
        return [str(self.program), "store", "backup", str(self.repository), *kind,
                "--source", "corpus", *self.key()]

    def restore(self, to):
        return [str(self.program), "store", "restore", str(self.repository), "latest", str(to), "--no-sync",
                *self.key()]

    def waiting(self, restore: list[str]) -> list[str]:
        """Returns a restore as it is by default: it ends when the disk has everything."""
        return [word for word in restore if word != "--no-sync"]

    def verify(self):
        return [str(self.program), "store", "verify", str(self.repository), "--read-data", *self.key()]


class Restic(Tool):
    name = "restic"
    options = "--compression auto (zstd 3)"

    def installed(self) -> Path:
        program = self.programs / "restic/usr/bin/restic"
        if not program.exists():
            self.programs.mkdir(parents=True, exist_ok=True)
            package = debian_package("trixie", "restic", self.programs)
            subprocess.run(["dpkg", "-x", str(package), str(self.programs / "restic")], check=True)
        return program

    def version(self) -> str:
        return output([str(self.installed()), "version"]).strip()

    def environment(self):
        return super().environment() | {"RESTIC_PASSWORD": SECRET, "RESTIC_REPOSITORY": str(self.repository)}

    def init(self):
        return [[str(self.installed()), "init"]]

    def backup(self, path):
        return [str(self.installed()), "backup", "--quiet", "--compression", "auto", str(path)]

    def restore(self, to):
        return [str(self.installed()), "restore", "--quiet", "latest", "--target", str(to)]

    def verify(self):
        return [str(self.installed()), "check", "--quiet", "--read-data"]


class Rustic(Tool):
    name = "rustic"
    options = "--set-compression 3"

    def installed(self) -> Path:
        return cargo_installed(self.programs, "rustic", "rustic-rs", "~0.11")

    def environment(self):
        return super().environment() | {"RUSTIC_PASSWORD": SECRET, "RUSTIC_REPOSITORY": str(self.repository),
                                        "RUSTIC_NO_PROGRESS": "true"}

    def init(self):
        return [[str(self.installed()), "init", "--set-compression", "3"]]

    def backup(self, path):
        return [str(self.installed()), "backup", str(path)]

    def restore(self, to):
        return [str(self.installed()), "restore", "latest", str(to)]

    def verify(self):
        return [str(self.installed()), "check", "--read-data"]


class Borg(Tool):
    name = "borg"
    options = "repokey-blake2, --compression zstd,3"

    def installed(self) -> Path:
        program = self.programs / "borg/bin/borg"
        if not program.exists():
            subprocess.run(["python3", "-m", "venv", str(self.programs / "borg")], check=True)
            subprocess.run([str(self.programs / "borg/bin/pip"), "install", "--quiet", "borgbackup~=1.4.0"], check=True)
        return program

    def environment(self):
        return super().environment() | {
            "BORG_PASSPHRASE": SECRET,
            "BORG_BASE_DIR": str(self.work / "home"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def init(self):
        return [[str(self.installed()), "init", "--encryption", "repokey-blake2", str(self.repository)]]

    def backup(self, path):
        return [str(self.installed()), "create", "--compression", "zstd,3",
                f"{self.repository}::{{now:%Y%m%d%H%M%S%f}}", str(path)]

    def restore(self, to):
        to.mkdir(parents=True)
        latest = output([str(self.installed()), "list", "--last", "1", "--short", str(self.repository)],
                        self.environment()).strip()
        # borg extracts into the current folder; `env` is the only way to say so without a shell.
        return ["env", "--chdir", str(to), str(self.installed()), "extract", f"{self.repository}::{latest}"]

    def verify(self):
        return [str(self.installed()), "check", "--verify-data", str(self.repository)]


class Bupstash(Tool):
    name = "bupstash"
    options = "--compression zstd:3"
    # It has no command that reads and checks everything.
    can_verify = False

    def installed(self) -> Path:
        return cargo_installed(self.programs, "bupstash", "bupstash", "~0.12")

    def environment(self):
        return super().environment() | {"BUPSTASH_KEY": str(self.work / "key"),
                                        "BUPSTASH_REPOSITORY": str(self.repository)}

    def init(self):
        program = str(self.installed())
        return [[program, "new-key", "-o", str(self.work / "key")], [program, "init"]]

    def backup(self, path):
        return [str(self.installed()), "put", "--quiet", "--compression", "zstd:3", str(path)]

    def latest(self) -> str:
        snapshots = output([str(self.installed()), "list", "--format=jsonl1"], self.environment())
        return "id=" + snapshots.strip().splitlines()[-1].split('"id":"')[1].split('"')[0]

    def restore(self, to):
        to.mkdir(parents=True)
        return [str(self.installed()), "restore", "--quiet", "--into", str(to), self.latest()]

    def restore_image(self, to):
        # It restores folders; a single file it writes to its output.
        to.mkdir(parents=True)
        return ["sh", "-c", 'exec "$0" get --quiet "$1" > "$2"',
                str(self.installed()), self.latest(), str(to / "image")]


def cargo_installed(programs: Path, program: str, crate: str, version: str) -> Path:
    """Builds a crate's program with the dependencies its authors locked."""
    path = programs / program / "bin" / program
    if not path.exists():
        subprocess.run(["cargo", "install", "--quiet", "--locked", "--root", str(programs / program),
                        "--version", version, crate],
                       check=True, cwd=programs, env=os.environ | {"CARGO_TARGET_DIR": str(programs / "build")})
    return path


def debian_package(suite: str, package: str, to: Path) -> Path:
    """Downloads a package of another Debian release, its index checked by apt."""
    state = to / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    sources = state / "sources.list"
    sources.write_text("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
                       f"http://deb.debian.org/debian {suite} main\n")
    options = [f"-oDir::State::lists={state}/lists", f"-oDir::Cache={state}",
               f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=-", "-oAPT::Sandbox::User=root"]
    subprocess.run(["apt-get", *options, "update", "-qq"], check=True)
    subprocess.run(["apt-get", *options, "download", "-qq", package], check=True, cwd=to)
    return Path(sorted(glob.glob(f"{to}/{package}_*.deb"))[-1])


def output(command: list[str], environment: dict[str, str] | None = None) -> str:
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

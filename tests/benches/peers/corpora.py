"""What the benchmark backs up: made once below a work folder, from this machine's own files.

Sizes are fixed; contents depend on what is installed here, so figures compare within one run
and never between machines.
"""

import os
import random
import shutil
import subprocess
from pathlib import Path

MIB = 1 << 20

# Where files of a tree are taken from, in this order, until there are enough.
TREE_ORIGINS = (
    "/usr/share",
    "~/.cargo/registry/src",
    "/usr/include",
    "/usr/lib/python3",
    "~/.pyenv/versions",
    "/usr/lib",
    "~/.rustup/toolchains",
)


class Corpora:
    """Builds and finds the corpora below one folder."""

    def __init__(self, folder: Path, scale: float):
        self.folder = folder
        self.scale = scale
        folder.mkdir(parents=True, exist_ok=True)

    def tree(self) -> Path:
        """150,000 files of 1.8 GB."""
        return self._made("tree", self._make_tree)

    def tree_later(self) -> Path:
        """The tree with 1 % of its files changed and every inode new."""
        return self._made("tree-later", self._make_tree_later)

    def image(self) -> Path:
        """A sparse disk image of 4 GiB with a root filesystem in it."""
        return self._made("image", self._make_image) / "disk.raw"

    def image_later(self) -> Path:
        """The same disk after some of its files were changed, deleted and added."""
        return self._made("image-later", self._make_image_later) / "disk.raw"

    def random(self) -> Path:
        """1 GiB that nothing can compress."""
        return self._made("random", self._make_random)

    def million(self) -> Path:
        """1,000,000 small files in 1,000 folders."""
        return self._made("million", self._make_million)

    def _made(self, name: str, make) -> Path:
        """Makes a corpus under another name first, so that half of one is never used."""
        path = self.folder / f"{name}-{self.scale:g}"
        if not path.exists():
            print(f"making corpus {name} …", flush=True)
            half = self.folder / f"{name}-{self.scale:g}.half"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            make(half)
            half.rename(path)
        return path

    def _make_tree(self, to: Path) -> None:
        files_left = int(150_000 * self.scale)
        bytes_left = int(1_800_000_000 * self.scale)
        for origin in map(os.path.expanduser, TREE_ORIGINS):
            copied: dict[str, bool] = {}
            for folder, folders, names in os.walk(origin):
                folders.sort()
                for name in sorted(names):
                    path = os.path.join(folder, name)
                    if os.path.islink(path) or not os.path.isfile(path):
                        continue
                    size = os.path.getsize(path)
                    # Enough bytes must be left for as many files as are still wanted.
                    if size > 12_000 and size > bytes_left - 6_000 * files_left:
                        continue
                    if files_left == 0 or size > bytes_left:
                        return
                    target = str(to) + path
                    parent = os.path.dirname(target)
                    if parent not in copied:
                        os.makedirs(parent, exist_ok=True)
                        copied[parent] = True
                    shutil.copy2(path, target)
                    files_left -= 1
                    bytes_left -= size
        if files_left > 0:
            print(f"  this machine has {files_left} files too few for the whole tree", flush=True)

    def _make_tree_later(self, to: Path) -> None:
        shutil.copytree(self.tree(), to, symlinks=True, dirs_exist_ok=True)
        chosen = random.Random(1)
        for folder, folders, names in os.walk(to):
            folders.sort()
            for name in sorted(names):
                if chosen.random() < 0.01:
                    path = os.path.join(folder, name)
                    os.chmod(path, 0o644)
                    with open(path, "ab") as file:
                        file.write(chosen.randbytes(200))

    def _make_image(self, to: Path) -> None:
        self._make_disk(to, later=False)

    def _make_image_later(self, to: Path) -> None:
        shutil.copytree(self._made("image", self._make_image), to, dirs_exist_ok=True,
                        copy_function=_copy_sparse)
        chosen = random.Random(2)
        commands = []
        root = self._root_tree()
        paths = sorted(str(p.relative_to(root)) for p in root.rglob("*")
                       if p.is_file() and not p.is_symlink() and " " not in str(p))
        for path in chosen.sample(paths, len(paths) // 50):
            commands.append(f"rm /{path}")
        fresh = to / "fresh"
        for number in range(200):
            fresh.with_suffix(f".{number}").write_bytes(chosen.randbytes(100_000))
            commands.append(f"write {fresh}.{number} /fresh-{number}")
        subprocess.run(["/sbin/debugfs", "-w", "-f", "-", str(to / "disk.raw")],
                       input="\n".join(commands), text=True, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for file in to.glob("fresh.*"):
            file.unlink()

    def _make_disk(self, to: Path, later: bool) -> None:
        disk = to / "disk.raw"
        size = int(4096 * self.scale) * MIB
        with open(disk, "wb") as file:
            file.truncate(size)
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-d", str(self._root_tree()), str(disk)], check=True)

    def _root_tree(self) -> Path:
        """A small Debian, by debootstrap."""
        path = self.folder / "debian-root"
        if not path.exists():
            print("making a Debian root with debootstrap …", flush=True)
            half = self.folder / "debian-root.half"
            shutil.rmtree(half, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase", "--include=python3,perl,git,vim,gcc", "bookworm", str(half)],
                check=True, stdout=subprocess.DEVNULL)
            half.rename(path)
        return path

    def _make_random(self, to: Path) -> None:
        chosen = random.Random(3)
        with open(to / "noise", "wb") as file:
            for _ in range(int(1024 * self.scale)):
                file.write(chosen.randbytes(MIB))

    def _make_million(self, to: Path) -> None:
        chosen = random.Random(4)
        for folder in range(int(1000 * self.scale) or 1):
            path = to / f"{folder:03}"
            path.mkdir()
            for number in range(1000):
                (path / f"{number:03}").write_bytes(b"%d %d\n" % (folder, chosen.getrandbits(60)))


def _copy_sparse(source: str, target: str) -> None:
    subprocess.run(["cp", "--sparse=always", source, target], check=True)

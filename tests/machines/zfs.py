"""Builds ZFS's kernel modules for the machines' kernel, once, and keeps them.

Debian has ZFS as sources only, and what compiles them is larger than all the rest of a machine.
So they are compiled in a system of their own, which is thrown away, and only the modules stay.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from image import ALONE, BUILD_SECONDS, COMPONENTS, MIRROR, SUITE, CannotBuild, Image, finish

PACKAGES = "dkms gcc make zfs-dkms".split()
COMPILE_SECONDS = 2400


def get(cache: Path, image: Image) -> Path:
    """Returns an archive of the modules, after building them where they are missing."""
    kernel = image.release.read_text()
    packages = [f"linux-headers-{kernel}", *PACKAGES]
    recipe = repr((SUITE, MIRROR, COMPONENTS, packages))
    folder = cache / f"zfs-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in cache.glob("zfs-*"):
                shutil.rmtree(old)
            print(f"building ZFS's modules for {kernel}, once (minutes)", flush=True)
            unfinished = cache / "zfs-unfinished"
            unfinished.mkdir()
            build(unfinished, kernel, packages)
            finish(unfinished, folder)
    return folder / "modules.tar"


def build(folder: Path, kernel: str, packages: list[str]) -> None:
    """Compiles the modules in a system of their own."""
    root = folder / "root"
    log = folder / "build.log"
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}

    def do(seconds: float, *command: str | Path) -> None:
        with open(log, "a", encoding="utf-8") as said:
            subprocess.run(
                [*ALONE, *command], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                check=True, timeout=seconds, env=environment,
            )

    try:
        do(
            # Where the package configures itself after the headers, it compiles as a part of this.
            BUILD_SECONDS + COMPILE_SECONDS, "debootstrap", "--variant=minbase", f"--components={COMPONENTS}",
            f"--include={','.join(packages)}", SUITE, root, MIRROR,
        )
        do(COMPILE_SECONDS, "chroot", root, "dkms", "autoinstall", "-k", kernel)
        modules = root / "lib/modules" / kernel / "updates/dkms"
        do(60, "tar", "-C", modules, "-cf", folder / "modules.tar", *sorted(path.name for path in modules.glob("*.ko")))
    except (subprocess.SubprocessError, OSError) as error:
        end = log.read_text(errors="replace").splitlines()[-1:] if log.exists() else []
        shutil.rmtree(folder)
        raise CannotBuild(f"{' '.join(end) or error}") from error
    shutil.rmtree(root)

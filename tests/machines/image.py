"""Builds the disk from which every machine starts, once, and keeps it.

The image is made in one call of debootstrap, as packages are in Debian's archive, and needs
nothing of this machine's own apt. Its folder is named after the recipe, so that a changed
recipe makes a new image and an interrupted build leaves nothing that looks finished.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# ZFS's programs are in contrib.
COMPONENTS = "main,contrib"
PACKAGES = (
    "systemd systemd-sysv dbus udev kmod procps iproute2 openssh-server sudo python3-minimal acl attr e2fsprogs"
    " linux-image-cloud-amd64 initramfs-tools nfs-kernel-server nfs-common lvm2 thin-provisioning-tools"
    " zfsutils-linux"
).split()
# Nothing of its own accord may run while a case looks at the clock or at the disk.
QUIET = (
    "apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer nfs-blkmap.service"
    " zfs-load-module.service zfs-import-cache.service zfs-import-scan.service zfs-mount.service zfs-share.service"
    " zfs-volume-wait.service"
).split()
# What a build starts ends with it, and what it mounts goes with it, however it is stopped.
ALONE = "setpriv --pdeathsig=KILL unshare --mount --pid --fork --kill-child".split()
SIZE = "3G"
BUILD_SECONDS = 1500

# A machine learns from its kernel's command line who it is: both start from one image.
IDENTITY = """\
#!/bin/sh
for word in $(cat /proc/cmdline); do
    case $word in machine.address=*) address=${word#*=} ;; esac
done
ip link set eth0 up
ip address add "$address/24" dev eth0
[ -f /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
"""
UNIT = """\
[Unit]
Before=ssh.service network.target nfs-server.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/machine-identity
[Install]
WantedBy=multi-user.target
"""
RECIPE = repr((SUITE, MIRROR, COMPONENTS, PACKAGES, QUIET, SIZE, IDENTITY, UNIT))


class CannotBuild(Exception):
    """The image can't be made here, for a reason that is no fault of what is tested."""


class Image:
    """A folder with a disk, a kernel with its initrd, and the key that its root lets in."""

    def __init__(self, folder: Path):
        self.disk, self.kernel, self.initrd = folder / "disk.img", folder / "vmlinuz", folder / "initrd"
        self.identity = folder / "identity"
        self.release = folder / "release"


def get(cache: Path) -> Image:
    """Returns the image, after building it where it is missing or was made by another recipe."""
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"image-{hashlib.sha256(RECIPE.encode()).hexdigest()[:16]}"
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in cache.glob("image-*"):
                shutil.rmtree(old)
            print("building the machines' image, once", flush=True)
            unfinished = cache / "image-unfinished"
            unfinished.mkdir()
            build(unfinished)
            finish(unfinished, folder)
    return Image(folder)


def finish(unfinished: Path, folder: Path) -> None:
    """Gives what was built its name; whoever became root for it must be able to remove it without."""
    owner = f"{os.environ.get('SUDO_UID', '0')}:{os.environ.get('SUDO_GID', '0')}"
    subprocess.run(["chown", "-R", owner, unfinished, folder.parent / "lock"], check=True)
    unfinished.rename(folder)


def build(folder: Path) -> None:
    """Makes everything of an image in a folder."""
    root = folder / "root"
    try:
        with open(folder / "debootstrap.log", "w", encoding="utf-8") as log:
            subprocess.run(
                [*ALONE, "debootstrap", "--variant=minbase", f"--components={COMPONENTS}",
                 f"--include={','.join(PACKAGES)}", SUITE, root, MIRROR],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=BUILD_SECONDS,
            )
    except (subprocess.SubprocessError, OSError) as error:
        end = (folder / "debootstrap.log").read_text(errors="replace").splitlines()[-1:]
        raise CannotBuild(f"debootstrap: {' '.join(end) or error}") from error
    image = Image(folder)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", image.identity], check=True)
    furnish(root, (folder / "identity.pub").read_text())
    kernel = next((root / "boot").glob("vmlinuz-*"))
    shutil.copy(kernel, image.kernel)
    # What is built for this kernel later has to know its release.
    image.release.write_text(kernel.name.removeprefix("vmlinuz-"))
    shutil.copy(next((root / "boot").glob("initrd.img-*")), image.initrd)
    subprocess.run(["truncate", "-s", SIZE, image.disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", root, image.disk], check=True, timeout=300)
    shutil.rmtree(root)


def furnish(root: Path, key: str) -> None:
    """Gives the system in a folder its network, its login, and quiet."""
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    for shared_by_all in (root / "etc/ssh").glob("ssh_host_*"):
        shared_by_all.unlink()
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    (root / "root/.ssh/authorized_keys").write_text(key)
    script = root / "usr/local/sbin/machine-identity"
    script.write_text(IDENTITY)
    script.chmod(0o755)
    (root / "etc/systemd/system/machine-identity.service").write_text(UNIT)
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    environment = {**os.environ, "LC_ALL": "C"}
    for verb, units in (("enable", ["machine-identity", "ssh", "nfs-server"]), ("mask", QUIET)):
        subprocess.run(
            ["chroot", root, "systemctl", verb, *units],
            check=True, timeout=60, capture_output=True, env=environment,
        )

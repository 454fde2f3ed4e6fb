"""The guest's system: Debian 12 as a person would install it for Docker, and our one unit."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

from nix import mirror
from tests.v2 import disk
from tests.v2.run import run

SUITE: Final = "bookworm"
PYTHON: Final = "3.11"  # of this suite
PACKAGES: Final = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "systemd-sysv",
    "udev",
    "dbus",  # what Docker's systemd driver asks for a scope
    "docker.io",
    "apparmor",  # its parser: without it the engine says that it has no AppArmor
    "iptables",
    "procps",
    "python3",
)
#: Room for the images that Docker unpacks; the file is sparse.
_SIZE_MIB: Final = 8 * 1024
_PACKAGES_FOLDER: Final = f"/usr/local/lib/python{PYTHON}/dist-packages"

FILES: Final = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/fstab": "".join(
        f"LABEL={label} {where} ext4 {options} 0 0\n"
        for label, where, options in (
            ("root", "/", "rw,noatime"),
            ("wheels", _PACKAGES_FOLDER, "ro"),
            ("images", "/images", "ro"),
            ("source", "/source", "ro"),
        )
    ),
    # only what this machine is made of: a quarter of the time to unpack, under emulation
    "etc/initramfs-tools/conf.d/guest": "MODULES=list\nCOMPRESS=zstd\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
    "etc/systemd/system/sandstream-test.service": f"""\
[Unit]
Description=The sandbox suite of Sandstream
Requires=docker.service
After=docker.service apparmor.service
RequiresMountsFor=/source /images {_PACKAGES_FOLDER}
# whatever happens, the machine ends: nobody is there to look at it
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/bin/sh /source/tests/v2/guest/suite.sh
Environment=HOME=/root LC_ALL=C.UTF-8
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
""",
}
#: They would take the emulated processor away from the suite.
_MASKED: Final = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-timesyncd.service",
)


def debootstrap_argv(folder: Path, *, uri: str, keyring: Path) -> list[str]:
    return [
        "debootstrap",
        "--variant=minbase",
        f"--keyring={keyring}",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(folder),
        uri,
    ]


def key() -> str:
    """What the system is made of; the mirror's state of the day is not part of it."""
    words = [SUITE, *PACKAGES, *FILES, *FILES.values(), *_MASKED]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def make(state: Path) -> tuple[Path, Path, Path]:
    """The system's disk, its kernel and its initrd (3 minutes once; needs root)."""
    name = key()
    kernel, initrd = state / f"vmlinuz-{name}", state / f"initrd-{name}"

    def fill(folder: Path) -> None:
        uri, keyring = mirror.archive(), mirror.keyring()
        run(debootstrap_argv(folder, uri=uri, keyring=keyring))
        for path, text in FILES.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        for mount in (_PACKAGES_FOLDER, "/images", "/source"):
            (folder / mount.lstrip("/")).mkdir(parents=True, exist_ok=True)
        chroot = ["chroot", str(folder)]
        run([*chroot, "update-initramfs", "-u", "-k", "all"])
        run([*chroot, "systemctl", "enable", "docker.service", "sandstream-test.service"])
        run([*chroot, "systemctl", "mask", *_MASKED])
        for archive in (folder / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        (found,) = (folder / "boot").glob("vmlinuz-*")
        shutil.copy(found, kernel)
        (found,) = (folder / "boot").glob("initrd.img-*")
        shutil.copy(found, initrd)

    if not (kernel.exists() and initrd.exists()):
        for old in (*state.glob("vmlinuz-*"), *state.glob("initrd-*"), *state.glob("root-*.ext4")):
            old.unlink()
    return disk.kept(state, "root", name, fill, size_mib=_SIZE_MIB), kernel, initrd

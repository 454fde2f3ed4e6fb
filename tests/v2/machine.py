"""The emulated machine: one life of it, bounded, ended by its own process id."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.v2.run import StepFailedError

_RESULTS_BYTES: Final = 64 << 20
_MEMORY_MIB: Final = 4096  # a container's limit in the suite is 3 GiB
_CPUS: Final = 2
#: The first word of guest/suite.sh: 30 to 50 s after the start, on a busy host more.
UP: Final = b"the guest is up"
_UP_SECONDS: Final = 240.0
_BOOTS: Final = 3


@dataclass(frozen=True, slots=True)
class Disks:
    """Images by their label in the guest's fstab; only `root` can be written, and forgets."""

    root: Path
    wheels: Path
    images: Path
    source: Path
    results: Path


def qemu_argv(kernel: Path, initrd: Path, disks: Disks) -> list[str]:
    """Software emulation: it needs no right at all, and is the same on every machine."""
    argv = [
        "qemu-system-x86_64",
        # no keyboard: its driver is where a boot on a busy host was seen to stop
        "-machine", "pc,i8042=off",
        "-accel", "tcg,thread=multi",
        # what newer ones add (5-level page tables, AVX) costs an emulator a third of its time
        "-cpu", "Nehalem",
        "-smp", str(_CPUS),
        "-m", f"{_MEMORY_MIB}M",
        "-kernel", str(kernel),
        "-initrd", str(initrd),
        "-append", " ".join(kernel_options()),
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-serial", "stdio",
        "-nic", "none",
        "-no-reboot",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    for name, options in (
        ("root", "snapshot=on"),
        ("wheels", "readonly=on"),
        ("images", "readonly=on"),
        ("source", "readonly=on"),
        ("results", "cache=unsafe"),
    ):
        argv += [
            "-drive", f"file={getattr(disks, name)},if=none,id={name},format=raw,{options}",
            "-device", f"virtio-blk-pci,drive={name},serial={name}",
        ]  # fmt: skip
    return argv


def kernel_options() -> list[str]:
    return [
        "root=LABEL=root",
        "rw",
        "console=ttyS0",
        "loglevel=1",  # what the kernel says of killed programs is in the journal
        "panic=-1",  # QEMU ends at once, by -no-reboot
        "apparmor=1",
        "security=apparmor",
        "mitigations=off",  # there is no processor to protect, and each costs emulated time
        "systemd.show_status=0",
    ]


@dataclass(frozen=True, slots=True)
class Results:
    """What the guest left on its results disk."""

    folder: Path

    @property
    def exit_code(self) -> int:
        return int((self.folder / "exit-code").read_text())

    @property
    def closing_line(self) -> str:
        """pytest's last line of the counts."""
        lines = (self.folder / "pytest.log").read_text(errors="replace").splitlines()
        closing = (line for line in reversed(lines) if line.startswith("==") and " in " in line)
        return next(closing, "no closing line of pytest")


class _NeverUpError(Exception):
    """The guest said nothing: an emulated machine on a busy host sometimes stops as it boots."""


def live(kernel: Path, initrd: Path, disks: Disks, folder: Path, *, seconds: float) -> Results:
    """Boot, wait until the machine powers off, unpack what it left; raises StepFailedError.

    A machine that never comes to its first word is begun again: nothing was tested yet.
    """
    argv = ["nice", "-n", "10", *qemu_argv(kernel, initrd, disks)]
    console = folder / "console.log"
    end = time.monotonic() + seconds
    for _ in range(_BOOTS):
        with disks.results.open("wb") as file:
            file.truncate(_RESULTS_BYTES)
        try:
            _boot(argv, console, disks.results.parent, end)
        except _NeverUpError:
            sys.stderr.write(f"test-v2: not up within {_UP_SECONDS:g} s\n")
            continue
        if time.monotonic() >= end:
            raise StepFailedError(f"the guest was not done within {seconds:g} s; see {console}")
        return unpack(disks.results, folder, console)
    raise StepFailedError(f"the guest did not come up, {_BOOTS} times; see {console}")


def _boot(argv: list[str], console: Path, scratch: Path, end: float) -> None:
    """One life of the machine, what it says to us and into `console`; ended at `end`."""
    env = os.environ | {"TMPDIR": str(scratch)}  # where `snapshot=on` writes
    began = time.monotonic()
    is_up = threading.Event()
    with (
        console.open("wb") as log,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
        ) as qemu,
    ):

        def give_up() -> None:
            if not is_up.is_set():
                qemu.kill()

        timers = [
            threading.Timer(max(0.0, end - began), qemu.kill),
            threading.Timer(_UP_SECONDS, give_up),
        ]
        for timer in timers:
            timer.start()
        try:
            for line in qemu.stdout or ():
                if UP in line:
                    is_up.set()
                log.write(b"%7.1f " % (time.monotonic() - began) + line)
                log.flush()
                sys.stderr.write(f"guest: {line.decode(errors='replace').rstrip()}\n")
        finally:
            for timer in timers:
                timer.cancel()
            qemu.kill()
    if not is_up.is_set() and time.monotonic() - began >= _UP_SECONDS and time.monotonic() < end:
        raise _NeverUpError


def unpack(disk: Path, folder: Path, console: Path) -> Results:
    """The guest writes a tar straight onto the disk: nothing else can get into it."""
    try:
        with tarfile.open(disk, "r:") as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                if content is not None:
                    (folder / Path(member.name).name).write_bytes(content.read())
    except tarfile.TarError as error:
        raise StepFailedError(f"the guest left no results ({error}); see {console}") from error
    if not (folder / "exit-code").exists():
        raise StepFailedError(f"the guest never came to the suite; see {console}")
    return Results(folder)

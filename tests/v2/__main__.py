"""`python -m tests.v2 [pytest arguments]`: the sandbox suite on cgroup v2, systemd and AppArmor.

Here, version 1 is what the suite meets; there, what most hosts have. The exit code is pytest's,
and 70 when the suite could not be brought to run. `SANDSTREAM_TEST_V2_SECONDS` bounds the
guest's life, `SANDSTREAM_TEST_STATE` says where the disks are kept.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy import debian
from tests.v2 import payload, root
from tests.v2.machine import Disks, live
from tests.v2.run import StepFailedError, run, step

#: The whole suite takes 20 to 35 minutes of two shared cores.
_SECONDS: Final = 45 * 60
_BROKEN: Final = 70
_SUITE: Final = ["tests/v2/guest/checks.py", "tests/sandbox"]
_NEEDS: Final = (
    debian.Need("qemu-system-x86", "the guest", debian.on_path("qemu-system-x86_64")),
    debian.Need("e2fsprogs", "its disks", debian.on_path("mke2fs")),
    debian.Need("debootstrap", "its system", debian.on_path("debootstrap")),
)


def install_missing() -> None:
    missing = [need.package for need in _NEEDS if not need.here()]
    if missing:
        with step(f"install Debian packages: {', '.join(missing)}"):
            run(["apt-get", "update"])
            run(debian.install_argv(missing))


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0:
        raise StepFailedError("debootstrap needs root")
    default = payload.REPOSITORY / ".state-test"
    state = Path(os.environ.get("SANDSTREAM_TEST_STATE") or default).resolve() / "v2"
    seconds = float(os.environ.get("SANDSTREAM_TEST_V2_SECONDS") or _SECONDS)
    results = state / "last"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    install_missing()
    system, kernel, initrd = root.make(state)
    with tempfile.TemporaryDirectory(prefix="run-", dir=state) as name:
        folder = Path(name)
        source = folder / "source"
        payload.source(source, arguments or _SUITE)
        disks = Disks(
            root=system,
            wheels=payload.wheels(state),
            images=payload.images(state, source),
            source=payload.source_disk(source, folder / "source.ext4"),
            results=folder / "results.tar",
        )
        with step("the guest's life"):
            ended = live(kernel, initrd, disks, results, seconds=seconds)
    sys.stdout.write(f"{ended.closing_line}\n(the guest's words: {results})\n")
    return ended.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StepFailedError as error:
        sys.stderr.write(f"test-v2: FAILED: {error}\n")
        sys.exit(_BROKEN)

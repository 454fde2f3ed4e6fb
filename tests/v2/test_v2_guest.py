"""What of the guest's making is pure; the guest itself is `make test-v2`."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.v2 import disk, root
from tests.v2.guest import plugin
from tests.v2.machine import UP, Disks, Results, kernel_options, qemu_argv, unpack
from tests.v2.run import StepFailedError

DISKS = Disks(*(Path(f"/d/{name}") for name in ("root", "wheels", "images", "source", "results")))


def test_machine_has_no_network_and_writes_to_no_kept_disk():
    argv = qemu_argv(Path("/k"), Path("/i"), DISKS)
    assert argv[argv.index("-nic") + 1] == "none"
    drives = [argv[i + 1] for i, word in enumerate(argv) if word == "-drive"]
    assert [drive.split(",")[0].removeprefix("file=/d/") for drive in drives] == [
        "root", "wheels", "images", "source", "results"
    ]  # fmt: skip
    kept = [drive for drive in drives if "id=results" not in drive]
    assert all("snapshot=on" in drive or "readonly=on" in drive for drive in kept)


def test_machine_is_emulated_and_apparmor_is_on():
    argv = qemu_argv(Path("/k"), Path("/i"), DISKS)
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "-accel"] == ["tcg,thread=multi"]
    assert {"apparmor=1", "security=apparmor"} <= set(kernel_options())


def test_every_disk_is_mounted_by_the_label_that_it_is_made_with():
    labels = [line.split()[0] for line in root.FILES["etc/fstab"].splitlines()]
    assert labels == [f"LABEL={name}" for name in ("root", "wheels", "images", "source")]
    argv = disk.format_argv(Path("/from"), Path("/to"), label="source", size_mib=5)
    assert argv[argv.index("-L") + 1] == "source"
    assert argv[-2:] == ["/to", "5M"]


def written(path: Path, **files: bytes) -> Path:
    """A results disk as the guest leaves it: a tar, and zeros after it."""
    with tarfile.open(path, "w:") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name.replace('_', '-')}")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    with path.open("ab") as file:
        file.truncate(1 << 20)
    return path


def test_exit_code_of_the_guest_is_read_from_its_disk(tmp_path):
    results = unpack(written(tmp_path / "disk", exit_code=b"1\n"), tmp_path, tmp_path / "console")
    assert results.exit_code == 1


def test_guest_that_wrote_nothing_is_a_failure(tmp_path):
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    with pytest.raises(StepFailedError, match="console"):
        unpack(tmp_path / "disk", tmp_path, tmp_path / "console")


def test_guest_that_never_came_to_the_suite_is_a_failure(tmp_path):
    with pytest.raises(StepFailedError, match="never came"):
        unpack(written(tmp_path / "disk", journal=b"..."), tmp_path, tmp_path / "console")


def test_name_in_the_results_leads_nowhere_else(tmp_path):
    path = tmp_path / "disk"
    with tarfile.open(path, "w:") as archive:
        for name in ("../escaped", "exit-code"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, BytesIO(b"0"))
    (tmp_path / "results").mkdir()
    unpack(path, tmp_path / "results", tmp_path / "console")
    assert not (tmp_path / "escaped").exists()


def test_closing_line_is_the_one_with_the_counts(tmp_path):
    (tmp_path / "pytest.log").write_text(
        "=== test session starts ===\n=== 3 passed in 2.00s ===\nlast words\n"
    )
    assert Results(tmp_path).closing_line == "=== 3 passed in 2.00s ==="


def test_whatever_is_left_out_under_emulation_exists_and_has_a_reason():
    suite = "".join(
        path.read_text() for path in Path(root.__file__).parents[1].glob("sandbox/*.py")
    )
    for name, reason in plugin.LEFT_OUT.items():
        assert f"def {name.partition('[')[0]}(" in suite
        assert reason


def test_suite_says_the_word_by_which_a_boot_is_known_to_have_come_up():
    script = Path(root.__file__).with_name("guest") / "suite.sh"
    assert UP in script.read_bytes()

"""A file that is replaced is never there in part."""

from __future__ import annotations

import stat

import pytest

from streams import files
from streams.server import passwords


def test_who_reads_meanwhile_sees_what_was_there(tmp_path):
    file = tmp_path / "f"
    files.replace(file, b"before")
    with file.open("rb") as reader:
        files.replace(file, b"x")
        assert reader.read() == b"before"
    assert file.read_bytes() == b"x"


def test_what_was_cut_short_is_no_obstacle_and_lends_no_mode(tmp_path):
    left = tmp_path / "f.new"
    left.write_bytes(b"half")
    left.chmod(0o666)
    files.replace(tmp_path / "f", b"all", mode=0o600)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_passwords_that_can_not_be_written_again_are_still_there(tmp_path, monkeypatch):
    file = tmp_path / "secrets.json"
    made = passwords(file)
    file.write_text(file.read_text().replace('"api"', '"of-another-version"'))

    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        passwords(file)
    monkeypatch.undo()
    again = passwords(file)
    assert {name: again[name] for name in made if name != "api"} == {
        name: made[name] for name in made if name != "api"
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

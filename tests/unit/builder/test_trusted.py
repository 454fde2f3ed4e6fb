"""The list of the channel's derivations: read whole, of this channel and of nothing older."""

from __future__ import annotations

import pytest

from builder.errors import BuilderError
from builder.trusted import FILE, NotRecorded, recorded
from init import storestamp

ONE = "/nix/store/0ab3g8hjscypj2ndcbpna02d8wpawv2c-acorn.deb.drv"
TWO = "/nix/store/3xcq55254ihkhwlfsjy72hx948abkfn9-gnutar-1.35.drv"


@pytest.fixture
def store(tmp_path):
    storestamp.stamp(str(tmp_path))
    return tmp_path


def write(store, *lines, end="\n"):
    (store / FILE).write_text("\n".join(lines) + end)


def test_the_paths_of_this_channel(store):
    write(store, "# channel c", ONE, TWO)
    assert recorded(store, "c") == {ONE, TWO}


def test_real_nixpkgs_has_none(store):
    write(store, "# channel nixpkgs-8fd9")
    assert recorded(store, "nixpkgs-8fd9") == frozenset()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("# channel other", ONE), "of channel 'other', 'c' is mounted"),
        ((ONE, TWO), "'c' is mounted"),
        (("# channel c", TWO, ONE), "not sorted"),
        (("# channel c", ONE, ONE), "twice"),
        (("# channel c", ""), "line 2"),
        (("# channel c", ONE.removesuffix(".drv")), "line 2"),
        (("# channel c", ONE, "/nix/store/../etc/passwd.drv"), "line 3"),
        (("# channel c", f"{ONE} {TWO}"), "line 2"),
    ],
)
def test_anything_else_is_refused_with_the_remedy(store, lines, words):
    write(store, *lines)
    with pytest.raises(NotRecorded, match=words) as raised:
        recorded(store, "c")
    assert isinstance(raised.value, BuilderError)
    assert "make setup" in str(raised.value)


def test_a_list_that_is_cut_short_is_refused(store):
    write(store, "# channel c", ONE, TWO[:-4], end="")
    with pytest.raises(NotRecorded, match="cut short"):
        recorded(store, "c")


def test_a_missing_list_is_told_with_the_remedy(store):
    with pytest.raises(NotRecorded, match="make setup"):
        recorded(store, "c")


@pytest.mark.parametrize("stamp", [None, "1\n", ""])
def test_a_list_in_a_store_of_an_older_version_does_not_count(store, stamp):
    write(store, "# channel c", ONE, TWO)
    version = store / storestamp.FOLDER / "version"
    version.unlink() if stamp is None else version.write_text(stamp)
    with pytest.raises(NotRecorded, match="older version"):
        recorded(store, "c")

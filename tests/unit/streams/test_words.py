"""Contents, environments, limits and rights: what the services agree on."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from init.limits import LIMITS, TOTALS, Stage, defaults, total_defaults
from streams import content
from streams.content import INLINE_BYTES, INLINE_TOTAL_BYTES, Packer
from streams.environments import environment_id, is_shell_file
from streams.events import NAMES, subject
from streams.limits import Limits
from streams.queues import BUILDERS, CANCELS, FALLBACK, WARMING, WORKERS
from streams.rights import ADMIN, USERS, authorization
from tests.unit.streams.samples import ALL, built, submitted


@given(st.binary(max_size=500))
def test_bytes_come_back_from_a_content(data):
    packed = Packer().pack(data)
    assert packed.inline() == data
    assert packed.size == len(data)
    assert content.Content.model_validate_json(packed.model_dump_json()) == packed


def test_the_packer_sends_large_contents_to_the_blob_store():
    packer = Packer()
    assert packer.pack(b"x" * INLINE_BYTES).data is not None
    large = packer.pack(b"x" * (INLINE_BYTES + 1))
    assert large.data is None
    assert packer.blobs == {large.sha256: b"x" * (INLINE_BYTES + 1)}


def test_the_packer_keeps_the_whole_event_small():
    packer = Packer()
    packed = [packer.pack(bytes([n]) * INLINE_BYTES) for n in range(40)]
    inline = sum(one.size for one in packed if one.data is not None)
    assert inline == INLINE_TOTAL_BYTES
    assert len(packer.blobs) == 40 - INLINE_TOTAL_BYTES // INLINE_BYTES
    assert packer.pack(b"").data == ""


def test_an_environment_is_what_the_shell_may_read():
    shell = [("shell.nix", b"a"), ("nix/x.json", b"b"), ("flake.lock", b"c")]
    id_ = environment_id(shell, "channel")
    assert re.fullmatch("[0-9a-f]{64}", id_)
    assert id_ == environment_id(reversed(shell), "channel")
    assert id_ != environment_id([("shell.nix", b"A"), *shell[1:]], "channel")
    assert id_ != environment_id(shell, "channel2")
    assert id_ != environment_id(shell[:2], "channel")
    assert not is_shell_file("main.py")
    assert not is_shell_file("src/nix/x")
    assert is_shell_file("lib/default.nix")


def test_an_id_is_the_same_on_every_host_and_at_every_time():
    """Another one here is another one in every log and store: then the tag has to change too."""
    id_ = environment_id([("shell.nix", b"a"), ("nix/x.json", b"b")], "channel")
    parts = (
        b"sandstream-environment-2", b"channel", b"x86_64-linux", b"nix/x.json", b"b",
        b"shell.nix", b"a",
    )  # fmt: skip
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert id_ == hashlib.sha256(framed).hexdigest()


@given(
    st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4)), max_size=4),
    st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4)), max_size=4),
)
def test_different_files_make_different_environments(one, other):
    same = sorted(one) == sorted(other)
    assert (environment_id(one, "c") == environment_id(other, "c")) == same


def test_lengths_keep_names_and_contents_apart():
    assert environment_id([("ab", b"c")], "x") != environment_id([("a", b"bc")], "x")
    assert environment_id([("a", b""), ("b", b"")], "x") != environment_id([("a", b"b")], "x")


def test_a_limit_that_is_absent_has_its_default_and_one_of_another_version_is_left_out():
    old = Limits.model_validate({"run": {"wall_seconds": 1.5, "gone": 3}, "compile": {}})
    assert old.run.wall_seconds == 1.5
    assert old.run.processes == defaults(Stage.RUN).processes
    assert old.compile == defaults(Stage.COMPILE)
    assert old.dependencies == defaults(Stage.DEPENDENCIES)
    assert old.total == total_defaults()
    assert Limits.model_validate_json(old.model_dump_json()) == old
    newer = Limits.model_validate({"total": {"wall_seconds": 7, "gone": 3}, "group": {"x": 1}})
    assert newer.total == replace(total_defaults(), wall_seconds=7)
    assert Limits.model_validate_json(newer.model_dump_json()) == newer


def test_every_default_is_within_its_maximum():
    for stage in Stage:
        for limit in LIMITS:
            assert 0 < limit.default(stage) <= limit.maximum(stage)
    for total in TOTALS:
        assert 0 < total.default <= total.maximum


def may(user, subject_):
    """Whether a user's rights let it publish there: `*` is one word, `>` the rest."""
    words = subject_.split(".")
    for right in user.publish:
        pattern = right.split(".")
        if pattern[-1] == ">" and len(words) >= len(pattern):
            pattern, cut = pattern[:-1], words[: len(pattern) - 1]
        else:
            cut = words
        if len(pattern) == len(cut) and all(
            p in ("*", w) for p, w in zip(pattern, cut, strict=True)
        ):
            return True
    return False


SAID = [*ALL, submitted(cache=False), built("in-container")]


@pytest.mark.parametrize("event", SAID, ids=subject)
def test_each_event_can_be_said_by_exactly_one_service(event):
    assert len([user.name for user in USERS if may(user, subject(event))]) == 1


def test_nobody_may_say_what_is_not_in_the_vocabulary():
    rights = [right for user in USERS for right in user.publish if right.startswith("submissions.")]
    assert {right.split(".")[2] for right in rights} == set(NAMES)
    for user in USERS:
        assert not any(fnmatch.fnmatch(right, "*STREAM.UPDATE*") for right in user.publish)
        assert not any(right in (">", "$JS.>", "$JS.API.>") for right in user.publish)


def test_blobs_are_read_and_written_with_four_rights_and_no_consumer():
    read = {"$JS.API.STREAM.MSG.GET.OBJ_blobs", "$JS.API.DIRECT.GET.OBJ_blobs"}
    write = {"$O.blobs.C.*", "$O.blobs.M.*"}
    found = {user.name: {right for right in user.publish if "blobs" in right} for user in USERS}
    assert found == {
        "api": read | write | {"$JS.API.STREAM.INFO.OBJ_blobs"},  # how full it is
        "builder": read | write,
        "worker": read | write,
        "projector": set(),
        "auditor": read,
    }


def test_the_queues_take_exactly_what_design_says():
    assert BUILDERS.filters == FALLBACK.filters == ("submissions.*.deps-queued",)
    assert WARMING.filters == ("environments.*.deps-queued",)
    assert WORKERS.filters == ("submissions.*.deps-built", "submissions.*.submitted.uncached")
    assert CANCELS.filters == ("submissions.*.cancel-requested",)


def test_the_servers_users_are_admin_and_the_services():
    names = (ADMIN, *(user.name for user in USERS))
    users = authorization({name: f"secret of {name}" for name in names})
    assert tuple(user["user"] for user in users) == names
    assert "permissions" not in users[0]
    for user in users[1:]:
        assert f"_INBOX_{user['user']}.>" in user["permissions"]["subscribe"]["allow"]

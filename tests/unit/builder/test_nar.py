"""The check of hostile bytes: what Nix writes is taken, and each deviation is refused."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.nar import Nar, NarChecker, NarRefused
from nix.channel.nar import string, strings
from tests.unit.builder.nars import (
    MAGIC,
    check,
    entry,
    file,
    folder,
    link,
    nested,
    one,
    program,
)

GOOD = MAGIC + folder(
    (b"A", file(b"")),
    (b"a", folder((b"b", folder()), (b"c", link()), (b"\xff\xfe\n", file(b"hello")))),
    (b"b", program(b"12345678")),
    (b"l", link(b"/etc/passwd")),
)
NAMES = ["l", "b", "a", "A"]
OPEN = MAGIC + strings(b"(", b"type", b"directory")
#: The beginning of a NAR whose entry `a` is to follow.
HEAD = OPEN + strings(b"entry", b"(", b"name", b"a", b"node")
TAIL = strings(b")", b")")


def length(value):
    return value.to_bytes(8, "little")


def named(name):
    """An honest NAR, but for this name at its lower level."""
    return one(folder((name, file())))


def test_what_nix_writes_is_taken():
    found = check(GOOD, NAMES)
    assert found.sha256 == hashlib.sha256(GOOD).digest()
    assert (found.size, found.largest_file) == (len(GOOD), 8)


def test_a_folder_of_nothing_is_one():
    assert check(MAGIC + folder(), []).largest_file == 0


@pytest.mark.parametrize("size", range(1, 60))
def test_any_split_gives_the_same(size):
    assert check(GOOD, NAMES, size=size) == check(GOOD, NAMES)


def test_every_split_in_two_gives_the_same():
    for at in range(len(GOOD) + 1):
        checker = NarChecker(NAMES, max_bytes=len(GOOD))
        checker.feed(GOOD[:at])
        checker.feed(b"")
        checker.feed(GOOD[at:])
        assert checker.end() == check(GOOD, NAMES)


def test_every_beginning_of_one_is_cut_short():
    for end in range(len(GOOD)):
        with pytest.raises(NarRefused, match="cut short") as caught:
            check(GOOD[:end], NAMES)
        assert not caught.value.too_large


SYNTAX = {
    "another archive": string(b"nix-archive-2") + folder((b"a", file())),
    "no archive": folder((b"a", file())),
    "a file at the top": MAGIC + file(),
    "a link at the top": MAGIC + link(),
    "something after the end": one(file()) + b"\0",
    "a second archive": one(file()) + one(file()),
    "a node that does not open": OPEN + strings(b"entry", b"(", b"name", b"a", b"node", b"["),
    "a node that does not close": HEAD + file()[:-16] + strings(b"]", b")", b")"),
    "a link that does not close": HEAD + link()[:-16] + strings(b"]", b")", b")"),
    "an entry that does not open": OPEN + strings(b"entry", b"[", b"name"),
    "an entry of a file that does not close": HEAD + file() + strings(b"]", b")"),
    "an entry of a folder that does not close": HEAD + folder() + strings(b"]", b")"),
    "an entry without a name": OPEN + strings(b"entry", b"(", b"node") + file() + TAIL,
    "an entry without a node": OPEN + strings(b"entry", b"(", b"name", b"a", b")", b")"),
    "another word for an entry": OPEN + string(b"entri") + one(file())[len(OPEN) + 16 :],
    "a keyword of another length": OPEN + string(b"entry2"),
    "a folder that closes twice": MAGIC + folder() + strings(b")"),
    "another word for the end": OPEN + string(b"]"),
    "a kind that does not exist": HEAD + strings(b"(", b"type", b"device", b")") + TAIL,
    "no kind": HEAD + strings(b"(", b"type", b"", b")") + TAIL,
    "no type": HEAD + strings(b"(", b"kind", b"regular") + TAIL,
    "a file without content": HEAD + strings(b"(", b"type", b"regular", b")") + TAIL,
    "an executable without content": HEAD
    + strings(b"(", b"type", b"regular", b"executable", b"", b")")
    + TAIL,
    "a marker with a value": HEAD
    + strings(b"(", b"type", b"regular", b"executable", b"1", b"contents", b"x", b")")
    + TAIL,
    "a marker without a value": HEAD
    + strings(b"(", b"type", b"regular", b"executable", b"contents", b"x", b")")
    + TAIL,
    "another marker": HEAD
    + strings(b"(", b"type", b"regular", b"executablE", b"", b"contents", b"x", b")")
    + TAIL,
    "the marker twice": HEAD
    + strings(b"(", b"type", b"regular", *(b"executable", b"") * 2, b"contents", b"x", b")")
    + TAIL,
    "content and then the marker": HEAD
    + strings(b"(", b"type", b"regular", b"contents", b"x", b"executable", b"", b")")
    + TAIL,
    "content twice": HEAD
    + strings(b"(", b"type", b"regular", b"contents", b"x", b"contents", b"x", b")")
    + TAIL,
    "a link without a target": HEAD + strings(b"(", b"type", b"symlink", b")") + TAIL,
    "a link with content": HEAD
    + strings(b"(", b"type", b"symlink", b"contents", b"tttttt", b")")
    + TAIL,
    "a folder with content": HEAD
    + strings(b"(", b"type", b"directory", b"contents", b"x", b")")
    + TAIL,
}


@pytest.mark.parametrize("data", SYNTAX.values(), ids=SYNTAX)
def test_another_syntax_is_refused(data):
    with pytest.raises(NarRefused) as caught:
        check(data)
    assert not caught.value.too_large
    assert "cut short" not in caught.value.reason


BAD_NAMES = {
    "empty": b"",
    "itself": b".",
    "above": b"..",
    "slash": b"x/y",
    "absolute": b"/etc",
    "nul": b"x\0",
    "too long": b"n" * 256,
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_what_is_no_file_name_is_refused(name):
    with pytest.raises(NarRefused, match=r"not a file name|a name of 256 bytes"):
        check(named(name))


@pytest.mark.parametrize("name", ["", ".", "..", "x/y", "x\0"])
def test_what_is_no_file_name_is_refused_even_when_it_was_asked_for(name):
    with pytest.raises(NarRefused, match="not a file name"):
        check(one(file(), name.encode()), [name])


@pytest.mark.parametrize("name", [b"n" * 255, b"...", b"\xff", b" ", b"\\", b"~nix~case~hack~1"])
def test_any_other_name_is_taken(name):
    check(named(name))


UNSORTED = {
    "twice": [b"x", b"x"],
    "twice, apart": [b"x", b"y", b"x"],
    "not sorted": [b"y", b"x"],
    "sorted as signed bytes": [b"\xff", b"a"],
    "sorted by length": [b"y", b"xx"],
    "sorted without case": [b"a", b"B"],
}


@pytest.mark.parametrize("names", UNSORTED.values(), ids=UNSORTED)
def test_names_that_are_not_sorted_or_not_unique_are_refused(names):
    with pytest.raises(NarRefused, match="not sorted, or twice"):
        check(one(folder(*[(name, file()) for name in names])))


@pytest.mark.parametrize("second", [b"m", b"a"], ids=["twice", "earlier"])
def test_names_are_compared_with_a_folder_before_them_too(second):
    inside = folder((b"z", file()))
    with pytest.raises(NarRefused, match="not sorted, or twice"):
        check(one(folder((b"m", inside), (second, file()))))
    check(one(folder((b"m", inside), (b"n", file()))))


def test_a_link_is_not_replaced_by_a_folder_of_its_name():
    with pytest.raises(NarRefused, match="twice"):
        check(MAGIC + folder((b"a", link(b"/nix/store")), (b"a", folder((b"b", file())))))


def test_nothing_at_the_top_but_what_was_asked_for():
    with pytest.raises(NarRefused, match="'b' was not asked for"):
        check(MAGIC + folder((b"a", file()), (b"b", file())))
    check(one(folder((b"b", file()))))  # further down, every name is the job's own


@pytest.mark.parametrize(
    "entries", [[], [(b"a", file())], [(b"b", file())]], ids=["both", "second", "first"]
)
def test_nothing_that_was_asked_for_is_missing(entries):
    with pytest.raises(NarRefused, match="missing"):
        check(MAGIC + folder(*entries), ["a", "b"])


def test_a_missing_name_is_not_found_further_down():
    with pytest.raises(NarRefused, match="1 missing, 'b'"):
        check(one(folder((b"b", file()))), ["a", "b"])


LENGTHS = {
    "of the first keyword": length(2**63),
    "of a keyword": OPEN + length(2**63),
    "of a keyword, by one": OPEN + string(b"x" * 14),
    "of a name": OPEN + strings(b"entry", b"(", b"name") + length(2**63),
    "of a name, by one": OPEN + strings(b"entry", b"(", b"name") + length(256),
    "of a kind": HEAD + strings(b"(", b"type") + length(2**64 - 1),
    "of a marker": HEAD + strings(b"(", b"type", b"regular") + length(2**40),
    "of a target": HEAD + strings(b"(", b"type", b"symlink", b"target") + length(2**63),
    "of a target, by one": HEAD + strings(b"(", b"type", b"symlink", b"target") + length(4096),
    "of a content": HEAD + strings(b"(", b"type", b"regular", b"contents") + length(2**63),
    "of a content, all": HEAD + strings(b"(", b"type", b"regular", b"contents") + length(2**64 - 1),
}


@pytest.mark.parametrize("data", LENGTHS.values(), ids=LENGTHS)
def test_a_length_out_of_bounds_is_refused_at_once(data):
    with pytest.raises(NarRefused) as caught:
        NarChecker(["a"], max_bytes=10**12).feed(data)
    assert not caught.value.too_large


PADDING = {
    "of the archive's word": MAGIC[:-1] + b"\1" + folder((b"a", file())),
    "of a keyword": OPEN[:-1] + b"\1" + one(file())[len(OPEN) :],
    "of a read keyword": OPEN + string(b"entry")[:-1] + b"\1" + one(file())[len(OPEN) + 16 :],
    "of a name": OPEN + entry(b"a", file()).replace(string(b"a"), length(1) + b"a\0\0\0\1\0\0\0"),
    "of a content": one(file(b"x").replace(string(b"x"), length(1) + b"x" + b"\1" + bytes(6))),
    "of a target": one(link(b"x").replace(string(b"x"), length(1) + b"x" + bytes(6) + b"\1")),
    "eight more": one(file(b"12345678").replace(b"12345678", b"12345678" + bytes(8))),
    "none": one(file(b"x").replace(string(b"x"), length(1) + b"x")),
}


@pytest.mark.parametrize("data", PADDING.values(), ids=PADDING)
def test_padding_is_zeros_up_to_a_multiple_of_eight(data):
    with pytest.raises(NarRefused) as caught:
        check(data)
    assert "cut short" not in caught.value.reason


@pytest.mark.parametrize("target", [b"", b"x\0y"])
def test_what_can_not_be_a_links_target_is_refused(target):
    with pytest.raises(NarRefused, match="not a link's target"):
        check(one(link(target)))


@pytest.mark.parametrize("target", [b"t" * 4095, b"/", b"..", b"\xff"])
def test_any_other_target_is_taken(target):
    check(one(link(target)))


def test_more_levels_than_nix_takes_are_refused():
    # the top is one, and so is the lowest file
    check(MAGIC + nested(63), ["d"])
    check(MAGIC + nested(63, folder()), ["d"])
    for lowest in (file(), folder(), link()):
        with pytest.raises(NarRefused, match="more than 64 levels"):
            check(MAGIC + nested(64, lowest), ["d"])


def test_levels_that_were_left_do_not_count():
    deep = nested(60)
    check(MAGIC + folder(*[(bytes([i]), deep) for i in range(65, 75)]), map(chr, range(65, 75)))


def test_a_path_longer_than_nix_takes_is_refused():
    name = b"n" * 255
    rest = 3800 - 14 * 256
    assert 0 < rest < 255
    check(MAGIC + nested(14, folder((b"x" * rest, file())), name), [name.decode()])
    with pytest.raises(NarRefused, match="a path of more than 3800 bytes"):
        check(MAGIC + nested(14, folder((b"x" * (rest + 1), file())), name), [name.decode()])


def test_paths_that_were_left_do_not_count():
    long = nested(10, name=b"n" * 255)
    check(one(folder((b"x", long), (b"y", long), (b"z", long))))


def test_more_entries_than_allowed_are_refused():
    data = one(folder((b"b", file()), (b"c", folder((b"d", link())))))
    check(data, max_entries=4)
    with pytest.raises(NarRefused, match="more than 3 files") as caught:
        check(data, max_entries=3)
    assert not caught.value.too_large


def test_more_bytes_than_allowed_are_too_large():
    assert check(GOOD, NAMES, max_bytes=len(GOOD)).size == len(GOOD)
    for size in (1, 7, 4096):
        with pytest.raises(NarRefused, match="above the limit") as caught:
            check(GOOD, NAMES, max_bytes=len(GOOD) - 1, size=size)
        assert caught.value.too_large


def test_a_file_above_the_limit_is_too_large_before_any_of_it_came():
    announced = HEAD + strings(b"(", b"type", b"regular", b"contents") + length(1001)
    with pytest.raises(NarRefused) as caught:
        NarChecker(["a"], max_bytes=1000).feed(announced)
    assert caught.value.too_large


@pytest.mark.parametrize("size", [1, 10, 10**6])
def test_what_is_wrong_and_then_too_large_is_wrong(size):
    with pytest.raises(NarRefused, match="not the syntax") as caught:
        check(b"x" * 1000, max_bytes=500, size=size)
    assert not caught.value.too_large


def test_who_was_refused_stays_refused():
    checker = NarChecker(["a"], max_bytes=10**6)
    with pytest.raises(NarRefused, match="not the syntax"):
        checker.feed(string(b"nix-archive-2"))
    with pytest.raises(NarRefused, match="not the syntax"):
        checker.feed(one(file()))
    with pytest.raises(NarRefused, match="not the syntax"):
        checker.end()
    checker = NarChecker(["a"], max_bytes=10)
    for data in (MAGIC, b""):
        with pytest.raises(NarRefused, match="above the limit"):
            checker.feed(data)


def test_the_largest_file_is_the_largest():
    entries = [(b"b", file(b"1" * 9)), (b"c", program(b"1" * 30)), (b"d", file(b"1" * 20))]
    assert check(one(folder(*entries))).largest_file == 30


def test_a_content_is_not_held():
    head = HEAD + strings(b"(", b"type", b"regular", b"contents") + length(2**27)
    checker = NarChecker(["a"], max_bytes=2**28)
    piece = bytes(2**20)
    tracemalloc.start()
    try:
        checker.feed(head)
        for _ in range(2**7):
            checker.feed(piece)
        checker.feed(strings(b")", b")", b")"))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert checker.end().largest_file == 2**27
    assert most < 4 * 2**20


def test_entries_that_were_read_are_not_held():
    checker = NarChecker(["a"], max_bytes=2**30)
    checker.feed(HEAD + strings(b"(", b"type", b"directory"))
    tracemalloc.start()
    try:
        for number in range(5_000):
            checker.feed(entry(b"%06d" % number, link(b"t" * 200)))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    checker.feed(strings(b")", b")", b")"))
    assert checker.end().largest_file == 0
    assert most < 2**18


@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
@example(b"", 0, len(GOOD))
def test_a_changed_archive_is_refused_or_another_whole_one(noise, start, end):
    """Whatever it is, nothing but NarRefused comes of it, however it is split."""
    data = GOOD[: min(start, end)] + noise + GOOD[max(start, end) :]
    results = []
    for size in (1, 13, None):
        try:
            results.append(check(data, NAMES, size=size))
        except NarRefused as error:
            results.append((error.reason, error.too_large))
    assert results[0] == results[1] == results[2]
    if isinstance(results[0], Nar):
        assert results[0].sha256 == hashlib.sha256(data).digest()


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_that_is_no_content_or_name_is_refused(at, change):
    data = bytearray(GOOD)
    data[at] ^= change
    try:
        found = check(bytes(data), NAMES)
    except NarRefused:
        return
    free = [b"hello", b"12345678", b"/etc/passwd", b"\xff\xfe\n", string(b"t")[8:9]]
    free += [b"b", b"c"]
    places = {p + i for word in free for p in _places(word) for i in range(len(word))}
    assert at in places
    assert found.size == len(GOOD)


def _places(word):
    """Where in GOOD this word is a whole string."""
    whole, at = string(word), -1
    while (at := GOOD.find(whole, at + 1)) >= 0:
        yield at + 8

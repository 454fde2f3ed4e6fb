"""The archive's decisions and its files, without any server."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from streams.archive import Blob, End, Head, Writer, end_of, named, period, read
from streams.archiving import why_not
from streams.errors import ArchiveDamaged
from streams.leaving import Open, Survey
from streams.reading import Extent, Stored
from streams.shelf import events_in

DAY = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "name", "end"),
    [("day", "2026-10-31", datetime(2026, 11, 1, tzinfo=UTC)),
     ("month", "2026-10", datetime(2026, 11, 1, tzinfo=UTC))],
)  # fmt: skip
def test_a_period_ends_where_the_next_begins(length, name, end):
    assert period(DAY, length) == name
    assert end_of(name) == end
    assert period(end, length) != name
    assert end_of("2026-12") == datetime(2027, 1, 1, tzinfo=UTC)


def test_blobs_are_found_wherever_an_event_names_them():
    inside = {"data": None, "sha256": "a" * 64}
    event = {"request_sha256": "c" * 64, "files": [{"content": inside}], "stdout": {"data": "x"}}
    assert named(orjson.dumps(event)) == {"a" * 64}
    assert named(b"{") == set()


def message(sequence, id_="s", event="submitted", at=DAY):
    data = orjson.dumps({"event": event, "submission_id": id_, "at": at.isoformat(), "by": "t"})
    return Stored(sequence, data, {"Nats-Subject": f"submissions.{id_}.{event}"})


def written(file, messages, *, blobs=(), previous=""):
    writer = Writer(file, Head("2026-10", messages[0].sequence, messages[-1].sequence, previous))
    for blob in blobs:
        writer.blob(blob)
    for one in messages:
        writer.message(one)
    writer.close()
    return list(read(file))[-1]


def test_what_is_written_is_read_byte_for_byte(tmp_path):
    data = bytes(range(256))
    headers = {"Nats-Subject": "submissions.s.odd", "Nats-Msg-Id": "7", "Own": "x"}
    blob = Blob(hashlib.sha256(data).hexdigest(), data)
    gone = Blob("f" * 64, None)
    stored = [message(5), Stored(6, data, headers)]
    written(tmp_path / "a.gz", stored, blobs=[blob, gone])
    found = list(read(tmp_path / "a.gz"))
    assert found[0] == Head("2026-10", 5, 6, "")
    assert found[1:3] == [blob, gone]
    assert [(one.sequence, one.subject, one.data) for one in found[3:5]] == [
        (one.sequence, one.subject, one.data) for one in stored
    ]
    assert found[4].own_headers == {"Nats-Msg-Id": "7", "Own": "x"}
    assert isinstance(found[5], End)
    assert (found[5].events, found[5].blobs) == (2, 2)


def test_the_same_messages_make_the_same_bytes_and_others_are_no_file(tmp_path):
    first, second = tmp_path / "a.gz", tmp_path / "b.gz"
    for file in (first, second, first):
        written(file, [message(1), message(2, event="finished")])
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(ArchiveDamaged, match="another file bears this name"):
        written(first, [message(1), message(2, event="failed")])
    assert first.read_bytes() == second.read_bytes()


def test_every_line_that_is_changed_is_found(tmp_path):
    file, other = tmp_path / "a.gz", tmp_path / "b.gz"
    written(file, [message(1), message(2), message(3)], blobs=[Blob("f" * 64, None)])
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    for number, line in enumerate(lines):
        for changed in (line.replace(b"1", b"4").replace(b"s", b"t"), b"", line + line):
            new = b"".join((*lines[:number], changed, *lines[number + 1 :]))
            other.write_bytes(gzip.compress(new))
            with pytest.raises(ArchiveDamaged):
                list(read(other))
    other.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ArchiveDamaged):
        list(read(other))
    with pytest.raises(ArchiveDamaged):
        list(read(tmp_path / "nothing.gz"))


def test_files_follow_each_other_in_whatever_order_they_are_named(tmp_path):
    files = [tmp_path / name for name in ("a.gz", "b.gz", "c.gz")]
    digest = ""
    for number, file in enumerate(files):
        end = written(file, [message(2 * number + 1), message(2 * number + 2)], previous=digest)
        digest = end.digest
    assert [event.sequence for event in events_in(reversed(files))] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ArchiveDamaged, match="sequences 3 to 4 are missing"):
        list(events_in([files[0], files[2]]))
    files[1].unlink()
    written(files[1], [message(3), message(4, event="other")], previous=end.digest)
    with pytest.raises(ArchiveDamaged, match="ended otherwise"):
        list(events_in(files))


def surveyed(before, *messages):
    survey = Survey("day", before)
    for one in messages:
        survey.add(one)
    return survey


LATER = DAY + timedelta(days=1)
FAR = DAY + timedelta(days=30)


def test_whole_periods_leave_and_the_last_one_that_is_not_over_stays():
    told = [message(1), message(2, event="finished"), message(3, "t", at=LATER)]
    told.append(message(4, "t", "failed", LATER))
    assert surveyed(FAR, *told).may_leave() == [("2026-10-31", 2), ("2026-11-01", 4)]
    assert surveyed(LATER, *told).may_leave() == [("2026-10-31", 2)]
    assert surveyed(DAY, *told).may_leave() == []


def test_whoever_has_not_ended_keeps_the_period_of_its_beginning_and_all_later_ones():
    told = [message(1), message(2, event="finished"), message(3, "t", at=LATER)]
    told += [message(4, "u", at=FAR), message(5, "u", "cancelled", FAR)]
    survey = surveyed(FAR + timedelta(days=9), *told)
    assert survey.may_leave() == [("2026-10-31", 2)]
    assert survey.open_from() == Open(3, "t")
    said = why_not(survey, Extent(1, 5), FAR)
    assert "submission t has not ended" in said
    assert "sandstream cancel` ends it" in said


def test_a_clock_that_went_back_or_a_damaged_message_stays_with_what_came_before():
    damaged = Stored(3, b"{", {"Nats-Subject": "submissions.s.broken"})
    told = [message(1, at=LATER), message(2, "s", "finished", DAY), damaged]
    assert surveyed(FAR, *told).may_leave() == [("2026-11-01", 3)]


def test_only_what_begins_in_a_period_goes_into_the_register_with_it():
    told = [message(1), message(2, "t"), message(3, event="finished", at=LATER)]
    told.append(message(4, "t", "finished", LATER))
    told += [message(5, "u", at=LATER), message(6, "u", "finished", LATER)]
    survey = surveyed(FAR, *told)
    assert survey.beginning_in(1, 2).keys() == {"s", "t"}
    assert survey.beginning_in(3, 6).keys() == {"u"}

"""What all bodies, or all answers, may hold together."""

from __future__ import annotations

from api.room import FREE_BYTES, Room, Share

MIB = 1024 * 1024


def test_a_share_grows_up_to_what_there_is_and_gives_all_of_it_back():
    room = Room(10 * MIB)
    one, other = Share(room), Share(room)
    one.reach(8 * MIB)
    assert other.may_reach(2 * MIB)
    assert not other.may_reach(3 * MIB)
    one.reach(5 * MIB)  # it does not shrink
    assert room.held == 8 * MIB - FREE_BYTES
    one.give_back()
    one.give_back()
    assert room.held == 0


def test_what_is_small_counts_as_nothing_and_one_that_is_too_large_may_always_be():
    room = Room(MIB)
    large, small = Share(room), Share(room)
    assert large.may_reach(50 * MIB)
    large.reach(50 * MIB)
    assert small.may_reach(FREE_BYTES)
    assert not small.may_reach(FREE_BYTES + 1)

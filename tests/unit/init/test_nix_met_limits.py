"""A limit that Nix met in a build, in Nix's own words."""

from __future__ import annotations

import pytest

from init.frames import Report
from init.nix_answer import concluded, met_file_size
from init.outcome import Outcome


@pytest.mark.parametrize(
    ("line", "met"),
    [
        (b"       Reason: builder failed with exit code 153.", True),
        (b"       Reason: builder failed due to signal 25 (File size limit exceeded).", True),
        (b"       Reason: builder failed with exit code 1.", False),
        (b"       Reason: builder failed with exit code 1530.", False),
        (b"       Reason: 1 dependency failed.", False),
        (b"Reason: builder failed with exit code 153.", False),
    ],
)
def test_builder_that_sigxfsz_killed_is_recognised(line, met):
    stderr = b"error: Cannot build '/nix/store/x.drv'.\n" + line + b"\n       Output paths:\n"
    assert met_file_size(stderr) is met
    report = Report(Outcome.NONZERO_EXIT, 1, None, 0.1, 0.1, 1, stderr=stderr)
    told, answer = concluded(report)
    assert answer is None
    assert told.outcome == (Outcome.FILE_SIZE_LIMIT if met else Outcome.NONZERO_EXIT)

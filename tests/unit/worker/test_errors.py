"""What a lost attempt tells its client."""

from __future__ import annotations

import pytest

from worker.errors import AttemptFailed


@pytest.mark.parametrize("path", ["docker/{}/jail/run-0", "system.slice/docker-{}.scope/jail"])
def test_reason_of_a_lost_attempt_has_no_id_of_the_engines(path):
    engines = "0123456789abcdef" * 4
    reason = AttemptFailed(
        f"init: OSError: [Errno 16] busy: '/cgroup/{path.format(engines)}'"
    ).reason
    assert engines not in reason
    assert reason.startswith("init: OSError: [Errno 16] busy: '/cgroup/")

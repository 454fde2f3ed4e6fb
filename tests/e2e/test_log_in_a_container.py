"""The event log's contract once more, on the server's own image, as another host would run it."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
import pytest_asyncio

from nix.images import tags
from streams.connection import connect
from streams.server import ServerConfig, passwords
from streams.setup import LogSettings, setup
from tests.conftest import Nats
from tests.integration import test_log as contract

pytestmark = pytest.mark.integration
PORT = 4222


def configuration(folder: Path, secrets: dict[str, str]) -> None:
    """The project's own, but for the address: a container is reached from outside."""
    config = ServerConfig(folder=Path("/data"), passwords=secrets, port=PORT)
    changed = json.loads(config.text()) | {"listen": f"0.0.0.0:{PORT}"}
    (folder / "nats.conf").write_text(json.dumps(changed))


async def answering(host: str, port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise AssertionError("the container does not answer")


@pytest_asyncio.fixture
async def nats(prepared, tmp_path, monkeypatch):
    """A server in a container of the local image; no reaper, whose image can't be pulled."""
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    secrets = passwords(tmp_path / "secrets.json")
    configuration(tmp_path, secrets)
    container = (
        DockerContainer(tags().nats)
        .with_volume_mapping(str(tmp_path), "/conf", "ro")
        .with_tmpfs_mount("/data", "size=64m")
        .with_command("--config /conf/nats.conf")
        .with_exposed_ports(PORT)
    )
    with container:
        host, port = container.get_container_host_ip(), int(container.get_exposed_port(PORT))
        await answering(host, port)
        running = Nats(f"nats://{socket.gethostbyname(host)}:{port}", secrets, None)
        async with connect(running.settings("admin"), name="test-admin") as client:
            await setup(client, LogSettings(lease_seconds=2.0))
        yield running


test_batches_are_whole = contract.test_submitted_and_deps_queued_become_visible_together
test_a_batch_for_an_id_that_exists = contract.test_a_batch_for_an_id_that_exists_leaves_nothing
test_two_writers = contract.test_of_two_writers_with_the_same_state_one_is_refused
test_rights = contract.test_a_builder_may_not_say_that_a_submission_finished
test_redelivery = contract.test_a_queue_delivers_again_after_the_lease_and_not_after_done
test_live = contract.test_live_listeners_hear_what_was_accepted
test_replay = contract.test_replay_from_any_sequence
test_large_bodies = contract.test_a_large_body_goes_through_the_object_store

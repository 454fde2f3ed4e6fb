"""The containers' descriptions: no privilege, and exactly these folders of the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sandstream.buildpool import environment
from sandstream.plans import (
    BuilderStack,
    builder_config,
    cache_config,
    storekeeper_config,
)

STACK = BuilderStack("i", Path("/s"), "b:1", "r:1", "{}", environment={"SANDSTREAM_X": "1"})


def test_none_has_any_privilege_at_all():
    configs = (builder_config, cache_config, storekeeper_config)
    for config in (make(STACK) for make in configs):
        host = config["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges", "seccomp={}"]
        assert host["ReadonlyRootfs"] is True
        assert "Privileged" not in host
        assert "CapAdd" not in host
        assert "Devices" not in host


def test_the_stores_owner_is_not_root():
    assert builder_config(STACK)["User"] == "30000:30000"


def test_what_the_builder_sees_of_the_host():
    assert builder_config(STACK)["HostConfig"]["Binds"] == [
        "/s/nix:/nix",
        "/s/channel:/channel:ro",
        "/s/builder:/var/lib/sandstream",
        "/s/cache:/cache",
        "/s/run/builder:/run/builder",
        "/sys/fs/cgroup:/cgroup",
    ]


def test_the_pool_is_told_no_secret_and_which_containers_to_make():
    stack = replace(
        STACK,
        environment={
            "SANDSTREAM_NATS_URL": "nats://x",
            "SANDSTREAM_NATS_PASSWORD": "secret",
            "SANDSTREAM_BUILDER_JOBS": "3",
            "SUBSTITUTERS": "http://c",
        },
    )
    found = environment(stack, {"PATH": "/bin", "SECRET": "x", "SANDSTREAM_KEYS_FILE": "/k"})
    assert "secret" not in str(found)
    assert "SECRET" not in found
    assert {
        "PATH": "/bin",
        "SANDSTREAM_BUILDER_JOBS": "3",
        "SUBSTITUTERS": "http://c",
        "SANDSTREAM_RUNNER_IMAGE": "r:1",
        "SANDSTREAM_STATE": "/s",
    }.items() <= found.items()


def test_the_cache_is_served_by_who_can_write_nowhere():
    stack = replace(STACK, cache_listen="10.0.0.1:8501")
    config = cache_config(stack)
    assert config["Entrypoint"][2:] == [
        "/usr/bin/busybox", "httpd", "-f", "-vv",
        "-p", "10.0.0.1:8501",
        "-c", "/dev/null",
        "-h", "/cache",
    ]  # fmt: skip
    assert config["User"] == "30002:30002"
    assert config["HostConfig"]["Binds"] == ["/s/cache:/cache:ro"]


def test_a_builder_publishes_where_its_cache_is_served_or_where_it_is_told():
    stack = replace(STACK, cache_listen="10.0.0.1:8501")
    assert "SANDSTREAM_PUBLISH_TO=file:///cache" in builder_config(stack)["Env"]
    told = replace(stack, environment={"SANDSTREAM_PUBLISH_TO": "s3://b"})
    assert builder_config(told)["Env"] == ["SANDSTREAM_PUBLISH_TO=s3://b"]
    assert builder_config(STACK)["Env"] == ["SANDSTREAM_X=1"]


def test_the_storekeeper_sees_the_store_and_its_socket_and_no_more():
    assert storekeeper_config(STACK)["HostConfig"]["Binds"] == [
        "/s/nix:/nix",
        "/s/run/store:/run/store",
    ]


def test_two_builders_of_one_store_have_folders_of_their_own():
    binds = builder_config(replace(STACK, name="two"))["HostConfig"]["Binds"]
    assert {"/s/two:/var/lib/sandstream", "/s/run/two:/run/builder", "/s/nix:/nix"} < set(binds)


def test_a_wall_around_all_jobs_together():
    host = builder_config(replace(STACK, memory_bytes=5))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (5, 5)
    assert "Memory" not in builder_config(STACK)["HostConfig"]

"""An allow list: fixed-output derivations reach what it names, and nothing gets a network."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
from contextlib import contextmanager

import pytest

from tests.builder.conftest import running, stack_of
from tests.builder.hosts import Host, ask, ended, published
from tests.builder.test_cache import OTHER_KEY
from tests.builder.test_shells import derivation, shell, stderr

pytestmark = pytest.mark.integration
CONTENT = b"what was fetched\n"
#: A script that speaks to the proxy as a fetcher does; $url and $to are set before.
FETCH = r"""
proxy="''${http_proxy#http://}"
exec 3<> "/dev/tcp/''${proxy%:*}/''${proxy#*:}"
printf 'GET %s HTTP/1.1\r\nHost: x\r\n\r\n' "$url" >&3
read -r version status rest <&3
[ "$status" = 200 ] || { echo "$status" >&2; exit 1; }
{ while read -r line && [ "$line" != $'\r' ]; do :; done; cat; } <&3 > $out
"""


@contextmanager
def site():
    """A web server of this host's; its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f"{self.headers['Host']}{self.path}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def by_nix(url):
    """What `fetchurl` is on the offline channel, as in the bootstrap of real nixpkgs."""
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    return f'(pkgs.fetchurl {{ url = "{url}"; hash = "sha256-{digest}"; }})'


def by_script(url, name="fetched"):
    """What nixpkgs' fetchers are: a program in the sandbox, with the proxy from outside."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return (
        f'(pkgs.runCommand "{name}" {{ url = "{url}"; impureEnvVars = [ "http_proxy" ]; '
        f'outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "{sha256}"; }} '
        f"''{FETCH}'')"
    )


def fetching(*ways):
    return shell(f"got = [ {' '.join(ways)} ];")


@pytest.fixture
def host(images, tmp_path):
    return Host(tmp_path / "host", images["builder"]).fill(images["built"])


async def test_a_builders_fixed_outputs_reach_what_is_allowed(nats, images, host):
    with site() as (port, asked), site() as (other, nothing):
        environment = {"SANDSTREAM_DEPENDENCIES_ALLOW": f"files.example:{port}:127.0.0.1"}
        stack = stack_of(nats, images, state=host.folder, environment=environment)
        url = f"http://files.example:{port}"
        async with running(nats, stack) as builder:
            state = await builder.build(fetching(by_nix(f"{url}/a"), by_script(f"{url}/b", "b")))
            assert state.dependencies.outcome == "ok", state.dependencies
            assert sorted(asked) == [f"files.example:{port}/a", f"files.example:{port}/b"]
            # the same host at another port, its address, and another host there
            for refused in (
                f"http://files.example:{other}/x",
                f"http://127.0.0.1:{port}/x",
                f"http://other.example:{port}/x",
            ):
                for way in (by_nix, by_script):
                    state = await builder.build(fetching(way(refused)))
                    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
                    assert "403" in stderr(state), stderr(state)
                    hint = "SANDSTREAM_DEPENDENCIES_ALLOW" in stderr(state)
                    assert hint or way is by_script, stderr(state)
            words = builder.pair.pool.log.read_text()
            assert words.count(f"files.example:{other} is not allowed") == 2, words
        assert (len(asked), nothing) == (2, [])


async def test_a_build_without_a_fixed_output_reaches_not_even_the_proxy(nats, images, host):
    with site() as (port, asked):
        environment = {"SANDSTREAM_DEPENDENCIES_ALLOW": f"127.0.0.1:{port}"}
        stack = stack_of(nats, images, state=host.folder, environment=environment)
        async with running(nats, stack) as builder:
            tries = (
                "for port in 3128 %d; do (exec 3<> /dev/tcp/127.0.0.1/$port) && exit 1; done; "
                'test -z "$http_proxy" && ! test -e /run/proxy && echo none > $out'
            )
            state = await builder.build(shell(derivation(tries % port)))
    assert state.dependencies.outcome == "ok", state.dependencies
    assert asked == []


async def test_a_containers_fixed_outputs_reach_what_is_allowed_and_its_program_nothing(
    nats, images, host, worker_on
):
    with site() as (port, asked), site() as (other, nothing):
        allowed = {"storekeeper": None, "dependencies_allow": f"files.example:{port}:127.0.0.1"}
        url = f"http://files.example:{port}"
        program = (
            "cat $got; env | grep -c _proxy; "
            "(exec 3<> /dev/tcp/127.0.0.1/3128) 2> /dev/null && echo reached; ls /run"
        )
        stack = stack_of(nats, images, state=host.folder)
        async with running(nats, stack) as builder, worker_on(host, **allowed):
            id_ = await builder.submit(
                fetching(by_nix(f"{url}/a"), by_script(f"{url}/b", "b")),
                files={"run.sh": program},
                cache=False,
            )
            state = await ended(builder, id_)
            assert state.dependencies.outcome == "ok", stderr(state)
            assert sorted(asked) == [f"files.example:{port}/a", f"files.example:{port}/b"]
            out = state.runs[0].stdout.data
            assert out == 2 * CONTENT.decode() + "0\nsandstream\n"
            wrong = fetching(by_nix(f"http://files.example:{other}/x"))
            state = await ended(builder, await builder.submit(wrong, cache=False))
            assert state.dependencies.outcome == "nonzero-exit", state.dependencies
            assert "403" in stderr(state)
        assert (len(asked), nothing) == (2, [])


async def test_a_container_takes_from_the_caches_what_is_signed_and_the_host_keeps_nothing(
    first, second, worker_on
):
    """A host whose store is empty, and no builder of its own: all of the shell is fetched."""
    text = shell()
    path = (await first.builder.build(text)).environment.path
    await published(first, path)
    run = {"run.sh": "python3 -c 'print(6 * 7)'"}
    ask(second.image, second.folder / "nix", "nix-store --init")
    before = second.valid()
    outcomes = []
    for key in (first.key, OTHER_KEY):
        caches = {"substituters": first.url, "trusted_public_keys": key}
        async with worker_on(second, storekeeper=None, **caches):
            id_ = await first.builder.submit(text, files=run, cache=False)
            state = await ended(first.builder, id_)
        outcomes.append(state.dependencies.outcome)
        if key == first.key:
            assert state.runs, stderr(state)
            assert (state.how, state.runs[0].stdout.data) == ("in-container", "42\n"), state
        else:
            assert "not signed by any of the keys" in stderr(state), stderr(state)
    assert outcomes == ["ok", "nonzero-exit"]
    assert second.valid() == before == set()

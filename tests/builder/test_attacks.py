"""What a shell may try against the host, the store and other submissions: one attack, one test."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.builder.conftest import STATE
from tests.builder.test_shells import derivation, shell, stderr

pytestmark = pytest.mark.integration
STORE = STATE / "nix/store"
#: How a build ends that was refused, or met a limit; never well, and never as our fault.
LIMITS = {"wall-time-limit", "cpu-time-limit", "memory-limit", "process-limit", "disk-limit"}
FIXED = f'outputHash = "{"0" * 64}"; outputHashAlgo = "sha256";'


async def still_works(builder):
    """Whatever was tried, the next submission is served."""
    state = await builder.build(shell())
    assert state.dependencies.outcome == "ok", state.dependencies


async def said(builder, script, **limits):
    """What a build's script prints; it fails at its end, so that its log is shown."""
    state = await builder.build(shell(derivation(f"{script}; exit 1")), **limits)
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    return stderr(state)


async def test_gigabytes_of_build_log_end_with_the_stderr_limit(builder):
    state = await builder.build(shell(derivation("yes 'a line of log' | head -c 4000000000")))
    assert state.dependencies.outcome == "stderr-limit", state.dependencies
    assert len(state.dependencies.stderr.inline() if state.dependencies.stderr.data else b"") <= (
        1024 * 1024
    )
    await still_works(builder)


async def test_a_huge_derivation_graph_meets_a_limit(builder):
    text = (
        f'let one = below: n: derivation {{ name = "n-{uuid.uuid4().hex}-${{toString n}}"; '
        'system = "x86_64-linux"; builder = "/bin/sh"; inherit below; }; '
        "in { inputDerivation = builtins.foldl' one null (builtins.genList (n: n) 10000000); }"
    )
    state = await builder.build(text, wall_seconds=6, cpu_seconds=6, memory_bytes=500_000_000)
    assert state.dependencies.outcome in LIMITS, state.dependencies
    await still_works(builder)


async def test_an_import_from_derivation_counts_against_the_same_limits(builder):
    endless = f'x = import (pkgs.runCommand "x-{uuid.uuid4().hex}" {{}} "while :; do :; done");'
    state = await builder.build(shell(endless), cpu_seconds=3)
    assert state.dependencies.outcome == "cpu-time-limit", state.dependencies
    assert state.dependencies.cpu_seconds < 6


async def test_an_import_from_derivation_follows_no_link_out_of_the_store(builder):
    name = uuid.uuid4().hex
    link = f'x = builtins.readFile (pkgs.runCommand "x-{name}" {{}} "ln -s /etc/passwd $out");'
    state = await builder.build(shell(link))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert "root:" not in stderr(state)


async def test_a_sparse_output_of_ten_gigabytes_meets_a_limit(builder):
    sparse = "mkdir $out; for i in 1 2 3 4 5 6 7 8 9 10; do truncate -s 1G $out/$i; done; sleep 5"
    state = await builder.build(shell(derivation(sparse)), disk_bytes=100_000_000)
    assert state.dependencies.outcome in {"disk-limit", "file-size-limit"}, state.dependencies


async def test_a_quick_output_above_the_disk_limit_is_not_kept(builder):
    quick = shell(derivation("truncate -s 300M $out"))
    state = await builder.build(quick, disk_bytes=100_000_000)
    assert state.dependencies.outcome == "disk-limit", state.dependencies
    assert state.environment is None


@pytest.mark.parametrize("kind", ["deep calls", "deep data", "deep syntax"])
async def test_deep_recursion_is_a_result_and_kills_nobody_else(builder, kind):
    text = {
        "deep calls": "let f = x: 1 + f (x + 1); in f 0",
        "deep data": (
            "builtins.deepSeq (builtins.foldl' (a: _: [ a ]) [ ] "
            "(builtins.genList (n: n) 2000000)) 1"
        ),
        "deep syntax": "(" * 30_000 + "1" + ")" * 30_000,
    }[kind]
    state = await builder.build(text, wall_seconds=30)
    assert state.dependencies.outcome in {"nonzero-exit", "signalled", "memory-limit"}, (
        state.dependencies
    )
    await still_works(builder)


async def test_a_shell_of_half_a_megabyte_is_read(builder):
    state = await builder.build(shell() + "\n#" + "x" * 500_000)
    assert state.dependencies.outcome == "ok", state.dependencies


@pytest.mark.parametrize("fixed", ["", FIXED], ids=["build", "fixed output"])
async def test_a_build_sees_no_socket_and_no_job_but_its_own(builder, fixed):
    other = await builder.submit(shell(derivation("sleep 30")))
    for _ in range(200):
        if any(builder.jobs.glob("*/socket")):
            break
        await asyncio.sleep(0.05)
    look = (
        "for f in /run /run/builder /nix/var /var/lib/sandstream /cache /cgroup /channel /etc/nix; "
        'do if [ -e $f ]; then printf "see%s %s" n $f; fi; done; find / -type s 2>/dev/null'
    )
    text = f"x = pkgs.runCommand \"x-{uuid.uuid4().hex}\" {{ {fixed} }} ''{look}; exit 1'';"
    state = await builder.build(shell(text))
    words = stderr(state)
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert "seen " not in words, words
    assert "socket" not in words, words
    await builder.cancel(other)


async def test_a_build_can_not_write_to_the_store_beside_its_output(builder):
    name = f"mine-{uuid.uuid4().hex}"
    fake = f"/nix/store/{'0' * 32}-{name}"
    state = await builder.build(
        shell(derivation(f"echo x > {fake}; echo x > /nix/store/.links/{name}; echo x > $out"))
    )
    assert state.dependencies.outcome in {"ok", "nonzero-exit"}
    assert not list(STORE.glob(f"*{name}*"))


async def test_a_build_can_not_change_what_is_in_the_store(builder):
    built = await builder.build(shell())
    python = next(p for p in built.environment.closure if "-python3-" in p)
    words = await said(
        builder,
        "p=${pkgs.python3}; ls $p > /dev/null && printf visi%s ble; "
        "touch $p/mine; chmod u+w $p; touch $p/mine; rm -rf $p",
    )
    assert "visible" in words
    assert (STORE / python.split("/")[3] / "bin/python3").exists()
    assert not (STORE / python.split("/")[3] / "mine").exists()


@pytest.mark.parametrize("mode", ["4755", "2755", "6777"])
async def test_no_output_has_a_set_user_id_bit(builder, mode):
    mark = uuid.uuid4().hex
    script = f"mkdir $out; cp /bin/sh $out/{mark}; chmod {mode} $out/{mark}; true"
    state = await builder.build(shell(derivation(script) + " y = x;"))
    found = list(STORE.glob(f"*/{mark}"))
    assert [file for file in found if file.stat().st_mode & 0o6000] == [], state.dependencies


async def test_no_output_has_a_capability(builder):
    mark = uuid.uuid4().hex
    value = "bytes.fromhex('0100000202000000' + '0' * 24)"
    py = f"import os; os.setxattr('$out/{mark}', 'security.capability', {value})"
    script = f'mkdir $out; cp /bin/sh $out/{mark}; ${{pkgs.python3}}/bin/python3 -c \\"{py}\\"'
    text = f'x = pkgs.runCommand "x-{mark}" {{}} "{script}";'
    state = await builder.build(shell(text))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert "Operation not permitted" in stderr(state) or "not supported" in stderr(state)


@pytest.mark.parametrize(
    "attribute",
    [
        'name = "../../../etc/mine";',
        'name = "x.drv";',
        'name = "a/b";',
        'name = ".";',
        'name = "a\\nb";',
        'name = "x"; outputs = [ "out" "../mine" ];',
        'name = "x"; outputs = [ "drv" ];',
        'name = "x"; out = "/etc/mine";',
    ],
)
async def test_a_name_that_is_to_confuse_is_refused(builder, attribute):
    text = (
        f"{{ inputDerivation = derivation {{ {attribute} "
        'system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; }; }'
    )
    state = await builder.build(text)
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert state.environment is None


SECRET = 'x = pkgs.writeText "secret-%s" "the secret";'


@pytest.mark.parametrize(
    "way",
    [
        "builtins.readFile %s",
        'builtins.readFile "%s"',
        'builtins.toString (builtins.readFileType "%s")',
        'builtins.path { path = "%s"; name = "mine"; }',
        'builtins.filterSource (_: _: true) "%s"',
        'import "%s"',
        'builtins.readFile (builtins.fetchurl "file://%s")',
        'builtins.hashFile "sha256" "%s"',
        'builtins.fetchTarball "file://%s"',
    ],
)
async def test_another_submissions_path_can_not_be_read_by_its_name(builder, way):
    """Nor can anybody list names, and 160 bits of each can't be guessed."""
    mark = uuid.uuid4().hex
    theirs = await builder.build(shell(SECRET % mark))
    path = next(p for p in theirs.environment.closure if p.endswith(f"-secret-{mark}"))
    state = await builder.build(shell(f"y = {way % path};"))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert "the secret" not in stderr(state)


async def test_a_path_is_as_secret_as_its_whole_name(builder):
    """Nix's own rule, stated here because it is no hole of ours to close: docs/environments.md.

    Who has the whole name can make the path an input (`storePath`, `appendContext`).
    """
    mark = uuid.uuid4().hex
    theirs = await builder.build(shell(SECRET % mark))
    path = next(p for p in theirs.environment.closure if p.endswith(f"-secret-{mark}"))
    known = await builder.build(shell(f'y = builtins.storePath "{path}";'))
    assert known.dependencies.outcome == "ok"
    guessed = path.replace(path[11:43], "0" * 32)
    state = await builder.build(shell(f'y = builtins.storePath "{guessed}";'))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies


async def test_another_submissions_path_is_not_there_in_a_build(builder):
    mark = uuid.uuid4().hex
    theirs = await builder.build(shell(SECRET % mark))
    path = next(p for p in theirs.environment.closure if p.endswith(f"-secret-{mark}"))
    words = await said(builder, f"ls /nix/store; cat {path}")
    assert "the secret" not in words
    assert "No such file" in words


@pytest.mark.parametrize(
    "option",
    [
        "__noChroot = true;",
        '__impureHostDeps = [ "/etc/passwd" ];',
        'sandboxProfile = "(allow default)"; __sandboxProfile = "(allow default)";',
        "allowSubstitutes = true; preferLocalBuild = true; __impure = true;",
        'requiredSystemFeatures = [ "recursive-nix" ];',
        'requiredSystemFeatures = [ "uid-range" ];',
        "__structuredAttrs = true; unsafeDiscardReferences = { out = true; };",
        f'impureEnvVars = [ "SANDSTREAM_NATS_PASSWORD" ]; {FIXED}',
    ],
)
async def test_no_attribute_of_a_derivation_opens_its_sandbox(builder, option):
    script = (
        "for f in /etc/passwd /run/builder /nix/var/nix/db; do "
        "if grep -q 30000 $f 2>/dev/null || [ -d $f ]; then echo open $f; fi; done; "
        'echo "password:$SANDSTREAM_NATS_PASSWORD:"; exit 1'
    )
    text = (
        f'x = derivation {{ name = "x-{uuid.uuid4().hex}"; system = "x86_64-linux"; '
        f"builder = \"/bin/sh\"; {option} args = [ \"-c\" ''{script}'' ]; }};"
    )
    state = await builder.build(shell(text))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    words = stderr(state).replace("echo open", "")
    assert "open /" not in words, words
    assert "password:" not in words.replace("password:$", "") or "password::" in words, words


async def test_a_shell_that_says_that_our_daemon_has_died_is_not_built_for_ever(builder):
    words = "Nix daemon disconnected unexpectedly (maybe it crashed?)"
    state = await builder.build(shell(f'x = throw "{words} {uuid.uuid4().hex}";'))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert words in stderr(state)
    assert await builder.said("DaemonFailed") == 3  # so often it is believed
    await still_works(builder)

"""What a shell tries, step by step: each refusal by its own words, and a control that succeeds."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from tests.builder.test_shells import derivation, shell, stderr
from tests.steps import nix_string, program, told

pytestmark = pytest.mark.integration
FORBIDDEN = "is forbidden in restricted mode"
FIXED = f'outputHash = "{"0" * 64}"; outputHashAlgo = "sha256";'


def attack(steps, *, before="", attributes=""):
    """An input of the shell that tries these; it fails at its end, so that its log is shown."""
    return (
        f'x = pkgs.runCommand "x-{uuid.uuid4().hex}" '
        f"{{ attack = {nix_string(program(steps, before))}; {attributes} }} "
        "''${pkgs.python3}/bin/python3 -c \"$attack\"; exit 1'';"
    )


async def tried(builder, steps, **more):
    """What became of each step of a build."""
    state = await builder.build(shell(attack(steps, **more)))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    found = told(stderr(state))
    assert found.keys() == steps.keys(), stderr(state)
    return found


async def refused(builder, text, words):
    state = await builder.build(text)
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert words in stderr(state), stderr(state)
    assert state.environment is None


async def test_build_writes_to_its_output_and_to_nothing_beside_it(builder):
    found = await tried(
        builder,
        {
            "own output": "os.mkdir(os.environ['out'])",
            "own file": "write(os.environ['out'] + '/file')",
            "own scratch": "write(os.environ['TMPDIR'] + '/file')",
            "new in an input": "write(os.environ['input'] + '/bin/new')",
            "file of an input": "write(os.environ['input'] + '/bin/python3')",
            "links": "write('/nix/store/.links/mine')",
            "database": "write('/nix/var/nix/db/mine')",
            "own root": "write('/mine')",  # it goes with the build
        },
        attributes="input = pkgs.python3;",
    )
    own = {name: answer for name, answer in found.items() if name.startswith("own ")}
    assert set(own.values()) == {"done"}, found
    rest = found.items() - own.items()
    assert {answer for _, answer in rest} <= {"EACCES", "EROFS", "ENOENT"}, found


async def test_build_gives_no_file_a_right_of_its_owners(builder):
    found = await tried(
        builder,
        {
            "own mode": "os.chmod(os.environ['out'], 0o700)",
            "set user id": "os.chmod(os.environ['out'], 0o4755)",
            "set group id": "os.chmod(os.environ['out'], 0o2755)",
            "both": "os.chmod(os.environ['out'], 0o6777)",
            "capability": (
                "os.setxattr(os.environ['out'], 'security.capability',"
                " bytes.fromhex('0100000202000000' + '0' * 24))"
            ),
            "device": "os.mknod(os.environ['TMPDIR'] + '/null', 0o20666, os.makedev(1, 3))",
            "own pipe": "os.mkfifo(os.environ['TMPDIR'] + '/pipe')",
        },
        before="write(os.environ['out'])",
    )
    assert found == {
        "own mode": "done", "own pipe": "done", "set user id": "EPERM", "set group id": "EPERM",
        "both": "EPERM", "capability": "ENOTSUP", "device": "EPERM",
    }  # fmt: skip


def _sleeps(seconds):
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if (process / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
    return False


@pytest.mark.parametrize("fixed", ["", FIXED], ids=["build", "fixed output"])
async def test_build_sees_its_own_socket_and_no_folder_of_ours(builder, fixed):
    """While another build runs. A socket that it makes itself shows that the look finds one."""
    seconds = str(1_000_000 + uuid.uuid4().int % 1_000_000)  # by which it is found on the host
    other = await builder.submit(shell(derivation(f"sleep {seconds}")))
    async with asyncio.timeout(60):
        while not _sleeps(seconds):
            await asyncio.sleep(0.1)
    places = (
        "/run", "/nix/var", "/var/lib/sandstream", "/cache", "/cgroup", "/channel", "/etc/nix",
        "/sys/fs", "/scratch", "/box",
    )  # fmt: skip
    sockets = (
        "import stat\n"
        "every = (f'{path}/{name}' for path, _, names in os.walk('/') for name in names)\n"
        "found = [name for name in every\n"
        "         if not name.startswith('/proc/') and stat.S_ISSOCK(os.lstat(name).st_mode)]\n"
        "assert found == [os.environ['TMPDIR'] + '/own'], found"
    )
    steps = {place: f"os.listdir({place!r})" for place in places}
    steps |= {"own folder": "os.listdir(os.environ['TMPDIR'])", "sockets": sockets}
    before = "socket.socket(socket.AF_UNIX).bind(os.environ['TMPDIR'] + '/own')"
    found = await tried(builder, steps, before=before, attributes=fixed)
    await builder.cancel(other)
    assert found == dict.fromkeys(places, "ENOENT") | {"own folder": "done", "sockets": "done"}


async def test_build_knows_no_path_of_another_environment(builder):
    mark = uuid.uuid4().hex
    theirs = shell(f'theirs = pkgs.writeText "secret-{mark}" "the secret";')
    state = await builder.build(theirs)
    assert state.dependencies.outcome == "ok", state.dependencies
    listed = f"assert not [name for name in os.listdir('/nix/store') if {mark!r} in name]"
    found = await tried(
        builder,
        {
            "list": listed,
            "own input": "open(os.environ['input']).read()",
            "list has its own": (
                "assert os.path.basename(os.environ['input']) in os.listdir('/nix/store')"
            ),
        },
        attributes='input = pkgs.writeText "mine" "mine";',
    )
    assert set(found.values()) == {"done"}, found


#: Of a derivation: what it asks for, and the words of who refuses it. None: it is built, as any.
ATTRIBUTES = {
    "__noChroot = true;": "'__noChroot' set, but that's not allowed",
    '__impureHostDeps = [ "/etc/passwd" ];': "not in allowed-impure-host-deps",
    "__impure = true;": "'impure-derivations' is disabled",
    'requiredSystemFeatures = [ "recursive-nix" ];': "missing system features",
    'requiredSystemFeatures = [ "uid-range" ];': "requires the setting 'auto-allocate-uids'",
    'sandboxProfile = "(allow default)"; __sandboxProfile = "(allow default)";': None,
    'allowedImpureDLLs = [ "/etc/passwd" ]; preferLocalBuild = true;': None,
    f'impureEnvVars = [ "SANDSTREAM_NATS_PASSWORD" "NATS_PASSWORD" ]; {FIXED}': None,
}


@pytest.mark.parametrize("attribute", ATTRIBUTES)
async def test_attribute_of_a_derivation_opens_no_sandbox(builder, attribute):
    steps = {
        "own folder": "os.listdir(os.environ['TMPDIR'])",
        "password": "assert not os.environ.get('SANDSTREAM_NATS_PASSWORD')",
        "users": "assert '30000' not in open('/etc/passwd').read()",
        "jobs": "os.listdir('/run')",
        "database": "os.listdir('/nix/var/nix/db')",
    }
    words = ATTRIBUTES[attribute]
    if words is not None:
        await refused(builder, shell(attack(steps, attributes=attribute)), words)
        return
    found = await tried(builder, steps, attributes=attribute)
    assert {found.pop("jobs"), found.pop("database")} == {"ENOENT"}
    assert set(found.values()) == {"done"}, found


#: A name that a derivation may not have, or the words of who refuses it.
NAMES = {
    'name = "../../../etc/mine";': "contains illegal character",
    'name = "x.drv";': "are allowed to end in '.drv' only if",
    'name = "a/b";': "contains illegal character",
    'name = ".";': "is not valid",
    'name = "a\\nb";': "contains illegal character",
    'name = "x"; outputs = [ "out" "../mine" ];': "contains illegal character",
}


@pytest.mark.parametrize("attribute", NAMES)
async def test_name_that_leads_elsewhere_is_refused_by_that_name(builder, attribute):
    await refused(builder, shell(_named(attribute)), NAMES[attribute])


async def test_names_that_lead_nowhere_are_built(builder):
    """The control; and an `out` that a shell sets is no place of its own choice."""
    for attribute in ('name = "good";', 'name = "x"; out = "/etc/mine";'):
        state = await builder.build(shell(_named(attribute)))
        assert state.dependencies.outcome == "ok", (attribute, stderr(state))
        assert not any("/etc" in path for path in state.environment.closure)


def _named(attribute):
    return (
        f'x = derivation {{ {attribute} salt = "{uuid.uuid4().hex}"; system = "x86_64-linux"; '
        'builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; };'
    )


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ('builtins.readDir "/nix/store"', "is not in the Nix store"),  # Nix's own, in any mode
        ('builtins.readDir "/nix/var/nix"', FORBIDDEN),
        ('builtins.readDir "/nix/var/nix/db"', FORBIDDEN),
        ('builtins.readDir "/etc"', FORBIDDEN),
        ('builtins.readDir "/proc/self"', FORBIDDEN),
    ],
)
async def test_evaluation_lists_no_folder_but_those_it_was_given(builder, way, words):
    """Only how many: a whole listing could fail for its length alone."""
    count = "x = toString (builtins.length (builtins.attrNames (%s)));"
    await refused(builder, shell(count % way), words)
    own = await builder.build(shell(count % "builtins.readDir ./."))
    assert own.dependencies.outcome == "ok", stderr(own)


async def test_evaluation_unpacks_no_archive_of_anothers(builder):
    """One that can be unpacked: of a text, which can't, nothing would be shown."""
    mark = uuid.uuid4().hex
    made = (
        f'theirs = pkgs.runCommand "archive-{mark}" {{}} '
        '"mkdir d; echo x > d/file; tar -czf $out d";'
    )
    theirs = await builder.build(shell(made))
    assert theirs.dependencies.outcome == "ok", stderr(theirs)
    # anybody can make the same path: what matters is that its name alone gives nothing
    path = f"/nix/store/{'0' * 32}-archive-{mark}"
    known = [one for one in theirs.environment.closure if one.endswith(mark)]
    for one in [path, *known]:
        await refused(builder, shell(f'y = builtins.fetchTarball "file://{one}";'), FORBIDDEN)


async def test_link_that_a_build_made_is_followed_by_no_evaluation(builder):
    read = 'y = builtins.readFile (pkgs.runCommand "x-%s" {} "%s");'
    name = uuid.uuid4().hex
    await refused(builder, shell(read % (name, "ln -s /etc/nix/nix.conf $out")), FORBIDDEN)
    own = await builder.build(shell(read % (f"own-{name}", "echo mine > $out")))
    assert own.dependencies.outcome == "ok", stderr(own)
    assert "mine" in own.environment.profile.inline().decode()

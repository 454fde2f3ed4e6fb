"""Every Nix command line and every jail that Nix runs in, compared whole."""

from __future__ import annotations

import pytest

from init import nix, nix_jails
from init.jail import NIX_POLICY, STAGE_POLICY, argv

SYSTEM = [
    "--bindmount_ro", "/usr:/usr",
    "--symlink", "usr/bin:/bin",
    "--symlink", "usr/lib:/lib",
    "--symlink", "usr/lib64:/lib64",
    "--bindmount_ro", "/etc/nix:/etc/nix",
    "--bindmount", "/dev/null:/dev/null",
    "--bindmount", "/dev/zero:/dev/zero",
    "--bindmount", "/dev/full:/dev/full",
    "--bindmount", "/dev/random:/dev/random",
    "--bindmount", "/dev/urandom:/dev/urandom",
    "--mount", "none:/tmp:tmpfs:mode=1777",
]  # fmt: skip
TERMINALS = [
    "--bindmount", "/dev/tty:/dev/tty",
    "--mount", "none:/dev/pts:devpts:newinstance,ptmxmode=0666,mode=0620",
    "--symlink", "/dev/pts/ptmx:/dev/ptmx",
]  # fmt: skip
COMMON = ["--env", "HOME=/tmp", "--env", "PATH=/usr/bin", "--env", "LANG=C.UTF-8"]


def told(script):
    return [
        "--",
        "/usr/bin/tini-static",
        "--",
        "/usr/bin/sh",
        "-c",
        f"printf . >&3; exec 3>&-\n{script}",
    ]


def after_identity(words):
    """What follows the options that every jail of ours shares."""
    assert words[0] == "/usr/local/bin/nsjail"
    at = words.index("--cwd")
    for option, value in (
        ("--user", "1000:30000:1"),
        ("--group", "1000:30000:1"),
        ("--log_fd", "4"),
    ):
        assert words[words.index(option) + 1] == value
    assert "--disable_clone_newnet" not in words
    return words[at:]


def test_inputs():
    assert nix.inputs_argv() == [
        "nix-build", "shell.nix",
        "--attr", "inputDerivation",
        "--no-out-link",
        "--option", "restrict-eval", "true",
        "-I", "files=/work",
    ]  # fmt: skip


def test_profile():
    assert nix.profile_argv() == [
        "nix", "--offline", "print-dev-env", "--json",
        "--file", "shell.nix",
        "--option", "restrict-eval", "true",
        "-I", "files=/work",
    ]  # fmt: skip


def test_closure():
    assert nix.closure_argv("/nix/store/x") == [
        "nix-store",
        "--query",
        "--requisites",
        "/nix/store/x",
    ]


def test_the_program_is_three_steps_under_one_clock():
    assert nix.script().splitlines() == [
        f"inputs=$({' '.join(nix.inputs_argv())}) || exit",
        'nix-store --query --requisites "$inputs" || exit',
        'echo "inputs $inputs"',
        f"exec {' '.join(nix.profile_argv())}",
    ]


def test_the_daemons_jail():
    jail = nix_jails.daemon_jail(uid=30000, store="/nix", folder="/run/j", scratch="/scratch/j")
    assert after_identity(argv(jail)) == [
        "--cwd", "/",
        "--proc_rw",
        "--pass_fd", "3",
        *SYSTEM,
        *TERMINALS,
        "--bindmount", "/nix:/nix",
        "--bindmount", "/run/j:/run/j",
        "--bindmount", "/scratch/j:/build",
        *COMMON,
        "--env", "NIX_REMOTE=local",
        "--env", "NIX_DAEMON_SOCKET_PATH=/run/j/socket",
        "--env", "NIX_CONFIG=trusted-users =\nallowed-users = *\nbuild-dir = /build",
        "--seccomp_string", NIX_POLICY,
        *told("exec nix-daemon"),
    ]  # fmt: skip


def test_the_trusted_fetch_builds_nothing_and_has_no_derivation():
    jail = nix_jails.fetch_jail(
        uid=30000, store="/nix", paths=[f"/nix/store/{'0' * 32}-x"], config="c"
    )
    words = argv(jail)
    assert "--disable_clone_newnet" in words
    assert words[words.index("--seccomp_string") + 1] == STAGE_POLICY
    program = told(f"exec nix-store --realise --keep-going '/nix/store/{'0' * 32}-x'")
    assert words[-len(program) :] == program


def test_an_evaluation_builds_nothing_and_says_what_it_lacks():
    assert nix.plan_script().splitlines() == [
        (
            "nix-instantiate shell.nix --attr inputDerivation --attr '' --add-root /tmp/shell"
            " --option max-jobs 0 --option restrict-eval true -I files=/work > /dev/null || exit"
        ),
        'for link in /tmp/shell /tmp/shell-[0-9]*; do echo "derivation $(readlink "$link")"; done',
        'exec nix-store --realise --dry-run "$(readlink /tmp/shell)" 2>&1',
    ]


DRV = f"/nix/store/{'0' * 32}-x.drv"


def test_a_build_is_of_derivations_and_evaluates_nothing():
    assert nix.build_script(DRV, DRV).splitlines() == [
        "if [ -e /run/registration ]; then nix-store --load-db < /run/registration || exit; fi",
        f"inputs=$(nix-build '{DRV}' --no-out-link) || exit",
        'nix-store --query --requisites "$inputs" || exit',
        'echo "inputs $inputs"',
        f"exec nix --offline print-dev-env --json '{DRV}'",
    ]


@pytest.mark.parametrize("name", ["/nix/store/x", f"{DRV}'; id", f"{DRV}\n", ""])
def test_no_word_of_a_script_is_anything_but_a_store_path(name):
    for script in (nix.plan_of_script, nix.realise_script):
        with pytest.raises(ValueError, match="no store path"):
            script(name)


def test_the_jail_of_an_uncached_build():
    jail = nix_jails.container_jail(
        uid=30000, files="/scratch/f", var="/scratch/v", scratch="/scratch/b"
    )
    assert after_identity(argv(jail)) == [
        "--cwd", "/work",
        "--proc_rw",
        "--pass_fd", "3",
        *SYSTEM,
        *TERMINALS,
        "--bindmount", "/nix/store:/nix/store",
        "--bindmount", "/scratch/v:/nix/var",
        "--bindmount_ro", "/channel:/channel",
        "--bindmount", "/scratch/b:/build",
        "--bindmount_ro", "/scratch/f:/work",
        *COMMON,
        "--env", "NIX_REMOTE=local",
        "--env", "NIX_PATH=nixpkgs=/channel",
        "--env", "NIX_CONFIG=build-dir = /build",
        "--seccomp_string", NIX_POLICY,
        *told(nix.script()),
    ]  # fmt: skip

"""Every Nix command line and every jail that Nix runs in, compared whole."""

from __future__ import annotations

from init import nix
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
    jail = nix.daemon_jail(uid=30000, store="/nix", folder="/run/j", scratch="/scratch/j")
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


def test_the_evaluators_jail_takes_back_what_nix_alone_needs():
    jail = nix.evaluator_jail(uid=30000, files="/tmp/f", socket="/run/j/socket")
    assert after_identity(argv(jail)) == [
        "--cwd", "/work",
        "--pass_fd", "3",
        *SYSTEM,
        "--bindmount_ro", "/nix/store:/nix/store",
        "--mount", "none:/nix/var/nix:tmpfs:mode=755",
        "--bindmount_ro", "/channel:/channel",
        "--bindmount", "/run/j/socket:/run/nix.socket",
        "--bindmount_ro", "/tmp/f:/work",
        *COMMON,
        "--env", "NIX_REMOTE=unix:///run/nix.socket",
        "--env", "NIX_PATH=nixpkgs=/channel",
        "--seccomp_string", STAGE_POLICY,
        *told(nix.script()),
    ]  # fmt: skip


def test_the_jail_of_an_uncached_build():
    jail = nix.container_jail(uid=30000, files="/scratch/f", var="/scratch/v", scratch="/scratch/b")
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

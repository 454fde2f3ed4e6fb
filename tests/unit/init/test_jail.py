"""The command line, whole."""

from __future__ import annotations

import re

from init.jail import NIX_POLICY, STAGE_POLICY, Bind, Jail, Mount, Symlink, argv


def test_argv_of_a_stage():
    jail = Jail(
        command=("/bin/x", "-a"),
        mounts=(
            Bind("/nix/store/a", "/nix/store/a"),
            Bind("/box/work", "/work", writable=True),
            Mount("tmpfs", "/tmp", "size=4096"),
            Symlink("/nix/store/a/bin/sh", "/bin/sh"),
        ),
        cwd="/work",
        outer_uid=20017,
        environment=(("A", "b=c"),),
        pass_fds=(3,),
        log_fd=4,
    )
    assert argv(jail) == [
        "/usr/local/bin/nsjail",
        "--mode", "o",
        "--quiet",
        "--log_fd", "4",
        "--time_limit", "0",
        "--nice_level", "0",
        "--disable_rlimits",
        "--hostname", "sandstream",
        "--user", "1000:20017:1",
        "--group", "1000:20017:1",
        "--cwd", "/work",
        "--pass_fd", "3",
        "--bindmount_ro", "/nix/store/a:/nix/store/a",
        "--bindmount", "/box/work:/work",
        "--mount", "none:/tmp:tmpfs:size=4096",
        "--symlink", "/nix/store/a/bin/sh:/bin/sh",
        "--env", "A=b=c",
        "--seccomp_string", STAGE_POLICY,
        "--", "/bin/x", "-a",
    ]  # fmt: skip


def test_argv_of_a_jail_without_a_policy_has_none():
    jail = Jail(("/x",), (), "/", 1, policy=None, network=True, proc_writable=True)
    words = argv(jail)
    assert "--seccomp_string" not in words
    assert {"--disable_clone_newnet", "--proc_rw"} <= set(words)


def test_jail_for_nix_is_refused_what_a_stage_is_but_for_namespaces_and_mounts():
    stage, for_nix = (set(re.findall(r"[a-z_0-9]{4,}", p)) for p in (STAGE_POLICY, NIX_POLICY))
    assert {word for word in stage - for_nix if not word.startswith("0")} == {
        "mount", "umount", "pivot_root", "chroot", "sethostname", "setdomainname",
    }  # fmt: skip

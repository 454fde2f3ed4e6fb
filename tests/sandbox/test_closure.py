"""What the closure may hold: its paths come out of a stranger's builds."""

from __future__ import annotations

import json

import pytest

from init.frames import Case, CompileDone
from init.limits import MIB
from init.outcome import Outcome
from tests.sandbox import store

pytestmark = pytest.mark.integration

CLOSURE = (store.SHELL, *store.LINKS)
#: Of that name is the link to each place.
TO = {target: link for link, target in store.LINKS.items()}


def test_store_path_that_is_a_link_is_one_in_the_jail(sandbox):
    run = sandbox.run(f"for it in {' '.join(store.LINKS)}; do readlink $it; done", closure=CLOSURE)
    assert run.run.stdout.decode().splitlines() == list(store.LINKS.values())


def test_link_that_leads_into_the_closure_leads_there(sandbox):
    inside = TO[f"../store/{store.NAME}/bin"]
    script = f"#!{TO[store.SHELL]}/bin/bash\n{inside}/echo $BASH; type -P echo"
    profile = store.profile(PATH=f"/usr/bin:{inside}")
    run = sandbox.run(script, closure=CLOSURE, profile=profile).run
    assert run.stdout.decode().split() == [f"{TO[store.SHELL]}/bin/bash", f"{inside}/echo"]


@pytest.mark.parametrize("place", ["/", "/nix/store", "/box", "/cgroup"])
def test_link_opens_nothing_of_the_container(sandbox, place):
    """A bind mount would follow it: all of /box and /cgroup, writable, and everybody's store."""
    link = TO[place]
    names = f"box/* cgroup/* ours/* run-0* memory* cgroup.* {store.OTHER}/*"
    script = f"cd {link} && ls -d {names} nix/store/{store.OTHER}/*; echo looked"
    run = sandbox.run(script, closure=(store.SHELL, link)).run
    assert run.stdout == b"looked\n"


def test_limit_stands_whatever_the_closure_holds(sandbox):
    link = TO["/cgroup"]
    script = f"""#!/usr/bin/env python3
import glob
for name in glob.glob('{link}/**/memory*', recursive=True):
    print(name, flush=True)
    try: open(name, 'w').write('1073741824')
    except OSError: pass
bytearray(200 << 20)
"""
    run = sandbox.run(script, closure=(store.SHELL, link), memory_bytes=64 * MIB).run
    assert (run.outcome, run.stdout) == (Outcome.MEMORY_LIMIT, b"")


def test_interpreter_that_only_the_container_has_is_none(sandbox):
    """As by bash, which runs a script that the kernel can't."""
    run = sandbox.run(f"#!{TO['/']}/usr/bin/python3\necho by bash", closure=CLOSURE).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"by bash\n")


def test_interpreter_with_a_nul_is_told_by_bash(sandbox):
    run = sandbox.run(f"#!{store.SHELL}/bin/b\0sh\necho no").run
    assert (run.outcome, run.exit_code) == (Outcome.NONZERO_EXIT, 126)
    assert b"binary file" in run.stderr


def test_env_is_the_closures_whatever_stands_before_it_on_the_path(sandbox):
    profile = store.profile(PATH=f"/usr/bin:{TO['/']}/usr/bin:{store.SHELL}/bin")
    run = sandbox.run("#!/usr/bin/env python3\nprint('env')", closure=CLOSURE, profile=profile).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"env\n")


@pytest.mark.parametrize("compiles", [False, True])
def test_files_in_very_many_folders_are_laid_out(sandbox, compiles):
    files = {f"{n}/" + "d/" * 198 + "file": b"x" for n in range(120)}
    script = "ls -d */ | wc -l; cat 119/" + "d/" * 198 + "file"
    run = sandbox.run(script, files=files, compile_script="true" if compiles else None).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"120\nx")


def test_large_environment_is_given_whole(sandbox):
    values = {f"LARGE_{n}": "'" * 100_000 for n in range(30)}
    script = "echo ${#LARGE_0} ${#LARGE_29}"
    profile = json.loads(store.profile(**values))
    for name in values:  # `var`: what is exported has to fit into one execve as well
        profile["variables"][name]["type"] = "var"
    run = sandbox.run(
        f". /run/sandstream/environment; {script}", profile=json.dumps(profile).encode()
    )
    assert (run.run.outcome, run.run.stdout) == (Outcome.OK, b"100000 100000\n")


def test_environment_that_does_not_fit_is_said(sandbox):
    values = {f"LARGE_{n}": "'" * 4_000_000 for n in range(2)}
    answer = sandbox.run("echo", Case(), compile_script="true", profile=store.profile(**values))
    assert answer.compiled.outcome is Outcome.NONZERO_EXIT
    assert "make them smaller" in answer.compiled.message
    assert [type(frame) for frame in answer.frames].count(CompileDone) == 1


def test_link_that_no_jail_can_have_is_a_result_of_each_case(sandbox):
    """The author's doing, not ours: another attempt would meet it again."""
    answer = sandbox.run("echo", Case(), Case(), closure=(*CLOSURE, store.COLON))
    assert [run.outcome for run in answer.runs] == [Outcome.NONZERO_EXIT] * 2
    assert "colon" in answer.runs[1].message

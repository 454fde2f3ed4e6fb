"""What a run is comes from the request, whatever compile.sh did to the work folder."""

from __future__ import annotations

import pytest

from init.frames import Case
from init.limits import MIB
from init.outcome import Outcome

pytestmark = pytest.mark.integration

_PYTHON = "#!/usr/bin/env python3\n"
_HONEST = "echo honest"

#: Each puts something of its own in the place of run.sh.
_REPLACED = {
    "written over": "echo 'echo EVIL' >run.sh",
    "another file": "rm run.sh; echo 'echo EVIL' >new; mv new run.sh",
    "with an interpreter": "printf '#!/work/evil\\n' >run.sh; chmod 755 run.sh; "
    "printf '#!/bin/sh\\necho EVIL\\n' >evil; chmod 755 evil",
    "removed": "rm run.sh",
    "all removed": "rm -rf /work/* /work/.* 2>/dev/null; exit 0",
    "a link": "rm run.sh; echo 'echo EVIL' >evil; ln -s evil run.sh",
    "a hard link": "echo 'echo EVIL' >evil; ln -f evil run.sh",
    "its own second name, written over": "ln run.sh also; echo 'echo EVIL' >also",
    "a folder": "rm run.sh; mkdir -p run.sh/x/y; echo 'echo EVIL' >run.sh/run.sh",
    "a folder that none may enter": "rm run.sh; mkdir -p run.sh/x; chmod 0 run.sh/x run.sh",
    "a deep tree": _PYTHON + "import os\nos.remove('run.sh')\nos.mkdir('run.sh')\n"
    "os.chdir('run.sh')\nfor i in range(3000): os.mkdir('d' * 100); os.chdir('d' * 100)",
    "a pipe": "rm run.sh; mkfifo run.sh",
    "a socket": _PYTHON + "import os, socket\nos.remove('run.sh')\n"
    "socket.socket(socket.AF_UNIX).bind('run.sh')",
    "without a mode": "echo 'echo EVIL' >run.sh; chmod 0 run.sh",
    "only to be read, as its folder": "echo 'echo EVIL' >run.sh; chmod 444 run.sh; chmod 555 .",
    "in a folder that none may enter": "echo 'echo EVIL' >run.sh; chmod 0 .",
}


@pytest.mark.parametrize("way", _REPLACED)
def test_each_case_runs_the_run_sh_of_the_request(sandbox, way):
    answer = sandbox.run(_HONEST, Case(), Case(), compile_script=_REPLACED[way])
    assert answer.compiled.outcome == Outcome.OK, answer.compiled
    assert [run.stdout for run in answer.runs] == [b"honest\n"] * 2, answer.runs


#: Each puts something of its own in the place of a/b/key, or of a folder that leads there.
_WAYS = {
    "written over": "echo EVIL >a/b/key",
    "removed": "rm a/b/key",
    "all removed": "rm -r a",
    "a link": "echo EVIL >evil; ln -sf /work/evil a/b/key",
    "a hard link": "echo EVIL >evil; ln -f evil a/b/key",
    "its own second name, written over": "ln a/b/key also; echo EVIL >also",
    "a folder": "rm a/b/key; mkdir -p a/b/key/x",
    "its folder a link": "mkdir evil; echo EVIL >evil/key; rm -r a/b; ln -s ../evil a/b",
    "the folder above a link": "mkdir -p evil/b; echo EVIL >evil/b/key; rm -r a; ln -s evil a",
    "the folder above a link to the outside": "mkdir -p /tmp/b; rm -r a; ln -s /tmp a",
    "a link to itself above": "rm -r a; ln -s a a",
    "a file above": "rm -r a; echo EVIL >a",
    "a pipe above": "rm -r a; mkfifo a",
    "a folder that none may enter": "echo EVIL >a/b/key; chmod 0 a/b/key a/b a",
    "a folder that none may write to": "echo EVIL >a/b/key; chmod 444 a/b/key; chmod 555 a/b a .",
    "its folder moved, and another there": "mv a/b c; mkdir a/b; echo EVIL >a/b/key",
}  # fmt: skip


@pytest.mark.parametrize("way", _WAYS)
def test_each_case_finds_a_protected_file_of_the_request(sandbox, way):
    answer = sandbox.run(
        "cat a/b/key; [ -L a -o -L a/b -o -L a/b/key ] || stat -c %a-%h-%F a/b/key",
        Case(),
        Case(),
        compile_script=_WAYS[way],
        files={"a/b/key": b"honest\n"},
        protected=["a/b/key"],
    )
    assert answer.compiled.outcome == Outcome.OK, answer.compiled
    found = b"honest\n644-1-regular file\n"
    assert [run.stdout for run in answer.runs] == [found] * 2, answer.runs


def test_what_lies_beside_a_protected_file_is_what_compile_made_of_it(sandbox):
    run = sandbox.run(
        "cat a/source a/made a/kept; stat -c %a a/made",
        compile_script="sed -i s/1/2/ a/source a/kept; echo made >a/made; chmod 640 a/made",
        files={"a/source": b"x = 1\n", "a/kept": b"y = 1\n"},
        protected=["a/kept"],
    ).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"x = 2\nmade\ny = 1\n640\n"), run


def test_a_protected_source_is_older_than_what_compile_made_of_it(sandbox):
    run = sandbox.run(
        "[ made -nt source ] && [ made -nt run.sh ] && echo newer",
        compile_script="sleep 0.01; cat source >made",
        files={"source": b"x"},
        protected=["source"],
    ).run
    assert run.stdout == b"newer\n", run


def test_compile_leaves_no_room_and_a_protected_file_has_its_own(sandbox):
    fill = "rm big; head -c 60M /dev/zero >full 2>/dev/null; exit 0"
    run = sandbox.run(
        "stat -c %s big && echo x >one-more && echo ran",
        compile_script=fill,
        compile_limits={"disk_bytes": 4 * MIB},
        files={"big": b"x" * MIB, **{f"d{n}/f": b"" for n in range(300)}},
        protected=["big", *(f"d{n}/f" for n in range(300))],
    ).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"%d\nran\n" % MIB), run

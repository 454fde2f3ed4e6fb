"""An attack as named steps: each reports on its own whether it was refused, and by which error.

A shell script under `set -e` ends at its first refusal, and a missing tool looks like a defence.
Here no step ends another, and a typo is neither `done` nor an errno, so no test can expect it.
Every attack needs a control beside it: the same call on something that is the attacker's own.
"""

from __future__ import annotations

import json

_PROGRAM = r"""
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
def tell(name, code):
    sys.stdout.flush()
    try:
        exec(code, globals())
        answer = "done"
    except OSError as error:
        answer = errno.errorcode.get(error.errno, repr(error))
    except BaseException as error:
        answer = "mistake: " + repr(error).replace("\n", " ")
    os.write(1, f"step {name}: {answer}\n".encode())
"""


def program(steps: dict[str, str], before: str = "") -> str:
    """A Python program of these steps, name to code; `call`, `write` and `os` are there for them.

    `before` runs once, unguarded: what it can't do ends the program, and no step is reported.
    """
    lines = [_PROGRAM, before, *(f"tell({name!r}, {code!r})" for name, code in steps.items())]
    return "\n".join(lines)


def told(output: bytes | str) -> dict[str, str]:
    """What each step reported: `done`, an errno's name, or `mistake: …`. First report counts."""
    text = output.decode() if isinstance(output, bytes) else output
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, mark, rest = line.partition("step ")
        name, colon, answer = rest.partition(": ")
        if mark and colon and name not in found:
            found[name] = answer
    return found


def nix_string(text: str) -> str:
    """The text as a string of the Nix language."""
    return json.dumps(text, ensure_ascii=False).replace("${", "\\${")

"""What a client asked for, as `submitted` keeps it: checked by `api/`, limits resolved."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from streams.content import EMPTY, Content, Frozen
from streams.limits import Limits

SHELL: Final = "shell.nix"
RUN: Final = "run.sh"
COMPILE: Final = "compile.sh"


class File(Frozen):
    """A file of the submission; `name` is relative to the work folder.

    Whatever compile did to a protected one, each run finds it as it was submitted.
    """

    name: str
    content: Content
    protected: bool = False


class TestCase(Frozen):
    """What one run reads and is called with, and what a judge expects of it.

    Arguments are bytes: text where all of them are UTF-8, else all base64.
    """

    __test__ = False  # pytest would collect it

    stdin: Content = EMPTY
    args: tuple[str, ...] = ()
    args_encoding: Literal["utf8", "base64"] = "utf8"
    expected_stdout: Content | None = None
    compare: str = "trailing"

    def arguments(self) -> tuple[bytes, ...]:
        """The bytes that run.sh is called with."""
        if self.args_encoding == "utf8":
            return tuple(arg.encode() for arg in self.args)
        return tuple(base64.b64decode(arg) for arg in self.args)


class Request(Frozen):
    """One submission. At least one test case: no list means one run without input.

    With `stop_on_failure` no case runs after the first that is neither accepted nor ok.
    """

    files: tuple[File, ...]
    cache: bool = True
    limits: Limits = Limits()
    test_cases: tuple[TestCase, ...] = Field(default=(TestCase(),), min_length=1)
    stop_on_failure: bool = False

    def contents(self) -> Iterator[Content]:
        """In the order in which clients see them."""
        yield from (file.content for file in self.files)
        for case in self.test_cases:
            yield case.stdin
            if case.expected_stdout is not None:
                yield case.expected_stdout

    @property
    def compiles(self) -> bool:
        return any(file.name == COMPILE for file in self.files)

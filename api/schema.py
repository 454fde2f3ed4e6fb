"""The shape of a submission's JSON, and its faults of shape in words.

Shape only: what must be decoded or compared across fields is in `contents.py` and `names.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from api.limits import GROUPS, LimitOverrides, limits_model
from api.problems import Fault
from init.limits import Stage

Encoding = Literal["utf8", "base64", "hex"]
COMPARES: Final = "trailing, exact, tokens, or float:TOLERANCE such as float:1e-6"
#: A tolerance may have as many digits as it needs, and no more than anybody reads.
COMPARE_LETTERS: Final = 64
#: Letters of a bad value that its message repeats.
_SHOWN: Final = 40
_SHAPE: Final = ConfigDict(extra="forbid", strict=True)

EXAMPLE: Final[dict[str, Any]] = {
    "files": [
        {
            "name": "shell.nix",
            "content": "{ pkgs ? import <nixpkgs> {} }:\n"
            "pkgs.mkShell { packages = [ pkgs.python3 ]; }\n",
        },
        {"name": "run.sh", "content": "python3 main.py\n"},
        {"name": "main.py", "content": "print(int(input()) * 2)\n"},
    ],
    "limits": {"run": {"wall_seconds": 2, "memory_bytes": 134217728}},
    "test_cases": [{"stdin": "21\n", "expected_stdout": "42\n"}],
}

#: The same without a shell of one's own.
LANGUAGE_EXAMPLE: Final[dict[str, Any]] = {
    "language": "rust",
    "files": [{"name": "main.rs", "content": 'fn main() {\n    println!("42");\n}\n'}],
    "test_cases": [{"expected_stdout": "42\n"}],
}


class FileBody(BaseModel):
    """One file, placed in the work folder before the first stage."""

    model_config = _SHAPE

    name: str = Field(description="Path in the work folder; folders are separated by /.")
    content: str = Field(description="The content, in `encoding`.")
    encoding: Encoding = Field(default="utf8", description="Of `content`.")
    protected: bool = Field(
        default=False,
        description="True: each run finds it as it was submitted, whatever compile.sh did to it "
        "or to its folders. Of run.sh this is always so.",
    )


class TestCaseBody(BaseModel):
    """One run: what it reads and is called with, and what is expected of it."""

    __test__ = False
    model_config = _SHAPE

    stdin: str = Field(default="", description="What the run reads.")
    stdin_encoding: Encoding = Field(default="utf8", description="Of `stdin`.")
    args: Annotated[list[str], FailFast()] = Field(
        default_factory=list,
        description="Arguments of run.sh, each in `args_encoding`; any bytes but NUL.",
    )
    args_encoding: Encoding = Field(default="utf8", description="Of each of `args`.")
    expected_stdout: str | None = Field(
        default=None, description="What a right answer writes; without it there is no verdict."
    )
    expected_stdout_encoding: Encoding = Field(default="utf8", description="Of `expected_stdout`.")
    compare: str = Field(
        default="trailing",
        max_length=COMPARE_LETTERS,
        description=f"One of {COMPARES}; at most {COMPARE_LETTERS} characters.",
    )


def body_model(overrides: LimitOverrides) -> type[BaseModel]:
    """The HTTP model of a submission, with this installation's limits in it."""
    config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [EXAMPLE, LANGUAGE_EXAMPLE]},
    )
    fields: dict[str, Any] = {
        "files": (
            list[FileBody],
            Field(description="Holds shell.nix and run.sh; may hold compile.sh and any others."),
        ),
        "language": (
            str | None,
            Field(
                default=None,
                description="One of GET /languages, in place of a shell.nix: its shell.nix is "
                "added to `files`, its compile.sh and run.sh where none of that name is sent.",
            ),
        ),
        "cache": (
            bool,
            Field(
                default=True,
                description="False: the environment is built in the submission's own container, "
                "and nothing of it stays behind.",
            ),
        ),
        "limits": (
            limits_model(overrides) | None,
            Field(
                default=None,
                description="Limits of each stage, and of compile and all runs together (`total`); "
                "what is absent has its default.",
            ),
        ),
        "test_cases": (
            list[TestCaseBody] | None,
            Field(default=None, description="No list means one run without input."),
        ),
        "stop_on_failure": (
            bool,
            Field(
                default=False,
                description="True: no further test case runs after the first that is not "
                "`accepted` (without `expected_stdout`: not `ok`).",
            ),
        ),
    }
    return create_model(
        "SubmissionBody",
        __config__=config,
        __doc__="A submission: files (shell.nix and run.sh among them), limits and test cases.",
        **fields,
    )


def environment_model(overrides: LimitOverrides) -> type[BaseModel]:
    """The HTTP model of an environment that is wanted for itself."""
    config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"language": "python"}, {"files": EXAMPLE["files"][:1]}]},
    )
    limits = limits_model(overrides, of=(Stage.DEPENDENCIES,), name="EnvironmentLimits")
    fields: dict[str, Any] = {
        "files": (
            list[FileBody],
            Field(
                default_factory=list,
                description="Holds shell.nix, and what it reads; any others are passed over.",
            ),
        ),
        "language": (
            str | None,
            Field(default=None, description="One of GET /languages, in place of a shell.nix."),
        ),
        "limits": (
            limits | None,
            Field(default=None, description="Limits of the build; what is absent has its default."),
        ),
    }
    return create_model(
        "EnvironmentBody",
        __config__=config,
        __doc__="An environment to build before anybody submits it: a language, or a shell.nix.",
        **fields,
    )


def faults_of_shape(error: ValidationError, overrides: LimitOverrides) -> list[Fault]:
    """One fault for each of the model's errors."""
    return [
        Fault(pointer(item["loc"]), _message(item, overrides))
        for item in error.errors(include_url=False)
    ]


def pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901); an unknown field's own name is cut, as it may be anything."""
    words = (str(word)[:100].replace("~", "~0").replace("/", "~1") for word in path)
    return "".join(f"/{word}" for word in words)


def _message(item: ErrorDetails, overrides: LimitOverrides) -> str:  # noqa: C901, PLR0911 - a table
    path = item["loc"]
    limit = _limit_message(path, item, overrides)
    if limit is not None:
        return limit
    given = _shown(item["input"])
    match item["type"]:
        case "extra_forbidden" if path[-1] == "env":
            return (
                "is not a field: the environment is what shell.nix says; set variables there, "
                'for example pkgs.mkShell { GREETING = "hello"; }'
            )
        case "extra_forbidden":
            return "is not a known field: remove it, or check its spelling against /docs"
        case "missing":
            return "is missing: add it"
        case "string_type":
            return f"must be a string, not {given}"
        case "bool_type":
            return f"must be true or false, not {given}"
        case "list_type":
            return f"must be an array, not {given}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"must be an object, not {given}"
        case "string_too_long":
            return (
                f"is {len(item['input'])} characters long, the most is "
                f"{item['ctx']['max_length']}: write it shorter, for example float:1e-6"
            )
        case "literal_error":
            return f"must be one of {item['ctx']['expected']}, not {given}"
        case _:
            return f"{item['msg']}, not {given}"


def _limit_message(
    path: Sequence[str | int], item: ErrorDetails, overrides: LimitOverrides
) -> str | None:
    """Of a fault in limits/<group>/<limit>; it names what was asked and what may be asked."""
    match path:
        case ["limits", str(group), str(name)] if group in GROUPS:
            limit = next((limit for limit in GROUPS[group] if limit.name == name), None)
        case _:
            return None
    if limit is None:
        known = ", ".join(limit.name for limit in GROUPS[group])
        return f"is not a limit: the limits are {known}"
    number = "a whole number" if limit.kind is int else "a number"
    most = f"{overrides.maximum(group, limit):.15g}"
    asked = item["input"]
    shown = f"{asked} is" if isinstance(asked, int | float) else f"{_shown(asked)} is"
    if item["type"] == "less_than_equal":
        return f"{shown} above the maximum {most}: ask for at most {most}"
    if item["type"] == "greater_than":
        return f"{shown} not above 0: ask for {number} above 0 and at most {most}"
    return f"{shown} not {number}: ask for {number} above 0 and at most {most}"


def _shown(value: Any) -> str:
    """A JSON value in an error message: its kind, and itself where it is short."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"
        case list():
            return "an array"
        case _:
            return "an object"

"""From the body of a POST to what `submitted` keeps, or to every fault at once. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from api.contents import Checked, check
from api.languages import with_language
from api.limits import resolve
from api.parsing import parse
from api.problems import invalid
from api.schema import body_model, environment_model, faults_of_shape
from api.settings import ApiSettings
from init.nix import is_shell_file
from streams.content import Packer, texts_or_base64
from streams.environments import environment_id, shell_files
from streams.limits import Limits
from streams.request import File, Request, TestCase


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request without fault. `blobs` (by digest) are stored before any event names them.

    `sha256` is that of the JSON's meaning: white space and the order of fields don't change it.
    None: of one that an older version recorded.
    """

    request: Request
    environment_id: str
    blobs: dict[str, bytes]
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Shell:
    """An environment that is wanted for itself; `files` are what its shell may read."""

    environment_id: str
    files: tuple[File, ...]
    limits: Limits
    blobs: dict[str, bytes]


class Reader:
    """Reads bodies under this installation's limits."""

    def __init__(self, settings: ApiSettings) -> None:
        self.model: type[BaseModel] = body_model(settings.limits)
        self.environment: type[BaseModel] = environment_model(settings.limits)
        self._settings = settings

    def read(self, data: bytes) -> Accepted:
        """A submission. Raises Problem 422 with every fault."""
        body = self._parsed(data)
        shape, checked = self._checked(body, self.model, runs=True)
        return self._accepted(body, shape, checked)

    def read_shell(self, data: bytes) -> Shell:
        """An environment without a submission. Raises Problem 422 with every fault."""
        body = self._parsed(data)
        if isinstance(body, dict):
            body = {"files": []} | body
        shape, checked = self._checked(body, self.environment, runs=False)
        packer = Packer()
        shell = [(name, content) for name, content in checked.files if is_shell_file(name)]
        files = (File(name=name, content=packer.pack(content)) for name, content in shell)
        return Shell(
            environment_id=environment_id(shell, self._settings.channel_revision),
            files=shell_files(files),
            limits=resolve(self._settings.limits, _asked(shape.model_dump())),
            blobs=packer.blobs,
        )

    def _parsed(self, data: bytes) -> Any:
        settings = self._settings
        return parse(data, most_fields=8 * (settings.max_files + settings.max_test_cases) + 100)

    def _checked(
        self, body: Any, model: type[BaseModel], *, runs: bool
    ) -> tuple[BaseModel, Checked]:
        settings = self._settings
        filled, faults = with_language(body, Path(settings.languages_folder))
        checked = check(
            filled,
            max_files=settings.max_files,
            max_test_cases=settings.max_test_cases,
            runs=runs,
        )
        checked.faults[:0] = faults
        if checked.too_long:
            raise invalid(checked.faults)
        try:
            shape = model.model_validate(filled)
        except ValidationError as error:
            raise invalid([*faults_of_shape(error, settings.limits), *checked.faults]) from error
        if checked.faults:
            raise invalid(checked.faults)
        return shape, checked

    def _accepted(self, body: Any, shape: BaseModel, checked: Checked) -> Accepted:
        packer = Packer()
        # The shell's files first: an environment that stands in the event costs no blob.
        order = sorted(checked.files, key=lambda file: not is_shell_file(file[0]))
        contents = {name: packer.pack(data) for name, data in order}
        fields = shape.model_dump()
        cases = tuple(
            TestCase(
                stdin=packer.pack(stdin),
                args=args,
                args_encoding=args_encoding,
                expected_stdout=None if expected is None else packer.pack(expected),
                compare=case["compare"],
            )
            for case, stdin, (args, args_encoding), expected in zip(
                fields["test_cases"] or (),
                checked.stdins,
                map(texts_or_base64, checked.args),
                checked.expected,
                strict=True,
            )
        )
        request = Request(
            files=tuple(
                File(name=name, content=contents[name], protected=name in checked.protected)
                for name, _ in checked.files
            ),
            cache=fields["cache"],
            limits=resolve(self._settings.limits, _asked(fields)),
            test_cases=cases or (TestCase(),),
            stop_on_failure=fields["stop_on_failure"],
        )
        shell = [(name, content) for name, content in checked.files if is_shell_file(name)]
        return Accepted(
            request=request,
            environment_id=environment_id(shell, self._settings.channel_revision),
            blobs=packer.blobs,
            sha256=hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        )


def _asked(fields: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The limits that the request names."""
    return {
        stage: {name: value for name, value in limits.items() if value is not None}
        for stage, limits in (fields["limits"] or {}).items()
        if limits is not None
    }

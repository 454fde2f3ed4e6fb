"""A process's settings, read from its environment; what is wrong with them is said in words."""

from __future__ import annotations

import os
import sys
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

#: EX_CONFIG of sysexits.h: to start this process again changes nothing.
WRONG_SETTING: Final = os.EX_CONFIG

Model = TypeVar("Model", bound=BaseSettings)


def read(model: type[Model]) -> Model:
    """The settings. Ends the process with WRONG_SETTING, and a line for each that is wrong."""
    try:
        return model()
    except ValidationError as error:
        sys.stderr.write("".join(f"{line}\n" for line in told(error, model)))
        sys.exit(WRONG_SETTING)


def told(error: ValidationError, model: type[BaseSettings]) -> list[str]:
    """One line for each wrong setting: its variable, what is wrong with it, and what it is."""
    prefix = model.model_config.get("env_prefix", "")
    lines = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        variable = f"{prefix}{name}".upper() if name in model.model_fields else name
        words = fault["msg"].removeprefix("Value error, ")
        given = f" (it is {fault['input']!r})"
        if fault["type"] == "missing" or "password" in name:
            given = ""
        lines.append(f"wrong setting {variable or 'of ' + model.__name__}: {words}{given}")
    return lines

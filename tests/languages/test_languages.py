"""Every ready-made shell, found by listing: its example goes over HTTP into a real jail.

All are posted at once, with the default limits, to one running system.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from api.languages import languages
from sandstream.client import ApiError, Client

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

FOLDER = Path(__file__).parents[2] / "nix" / "languages"
LANGUAGES = {language["name"]: language for language in languages(FOLDER)}

#: Names that nixpkgs has, and by which it means the same.
NIXPKGS = {
    "fpc", "gcc", "go", "jdk", "lua5_4", "nodejs", "perl", "php", "python3", "ruby", "rustc",
    "sbcl", "sqlite", "tcl", "typescript",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def finished(running):
    """Every language's example, submitted and ended."""
    async with Client(running.url) as client:
        found = await asyncio.gather(*(client.run(one["example"]) for one in LANGUAGES.values()))
    return dict(zip(LANGUAGES, found, strict=True))


@pytest.mark.parametrize("name", LANGUAGES)
async def test_the_example_is_accepted_under_the_default_limits(finished, name):
    shown = finished[name]
    said = json.dumps([shown["dependencies"], shown["compile"], shown["runs"]], indent=1)
    cases = LANGUAGES[name]["example"]["test_cases"]
    assert shown["verdict"] == "accepted", said
    assert [run["verdict"] for run in shown["runs"]] == ["accepted"] * len(cases), said
    assert (shown["compile"] is None) == (LANGUAGES[name]["compile_sh"] is None)
    assert [shown["timeline"][0]["event"], shown["status"]] == ["submitted", "finished"]


@pytest.mark.parametrize("name", LANGUAGES)
async def test_the_example_has_cases_and_a_shell_that_reads_the_same_on_nixpkgs(name):
    language = LANGUAGES[name]
    cases = language["example"]["test_cases"]
    assert len([case for case in cases if case["stdin"] and case["expected_stdout"]]) >= 2
    assert set(re.findall(r"pkgs\.(\w+)", language["shell_nix"])) - {"mkShell"} <= NIXPKGS
    assert language["shell_nix"].startswith("{ pkgs ? import <nixpkgs> { } }:\n")


async def test_a_language_is_named_in_place_of_a_shell(running):
    program = 'fn main() {\n    println!("{}", 6 * 7);\n}\n'
    body = {
        "language": "rust",
        "files": [{"name": "main.rs", "content": program}],
        "test_cases": [{"expected_stdout": "42\n"}],
    }
    async with Client(running.url) as client:
        shown = await client.run(body)
    assert shown["verdict"] == "accepted", shown
    recorded = {file["name"]: file["content"] for file in shown["request"]["files"]}
    rust = LANGUAGES["rust"]
    assert recorded == {
        "main.rs": program,
        "shell.nix": rust["shell_nix"],
        "compile.sh": rust["compile_sh"],
        "run.sh": rust["run_sh"],
    }


async def test_a_script_of_the_clients_own_goes_before_the_languages(running):
    files = [{"name": "run.sh", "content": "python3 -c 'print(6 * 7)'\n"}]
    body = {"language": "python", "files": files, "test_cases": [{"expected_stdout": "42"}]}
    async with Client(running.url) as client:
        shown = await client.run(body)
    assert shown["verdict"] == "accepted", shown


async def test_an_unknown_language_is_told_which_there_are(running):
    async with Client(running.url) as client:
        with pytest.raises(ApiError) as raised:
            await client.submit({"language": "cobol", "files": []})
    assert raised.value.status == 422
    (error,) = raised.value.errors
    assert error["field"] == "/language"
    assert all(name in error["message"] for name in LANGUAGES)


async def test_the_list_of_languages_is_the_folder(running):
    async with httpx.AsyncClient(base_url=running.url) as client:
        answer = await client.get("/languages")
    assert [language["name"] for language in answer.json()] == list(LANGUAGES)

"""The whole system with keys, published on every address: its command line, and a stranger."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from sandstream.stack import StackFailedError
from tests.e2e.conftest import system

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
EXAMPLE = Path(__file__).parents[2] / "examples" / "python-stdin"


async def in_a_terminal(*words: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandstream", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_a_published_system_serves_those_who_have_a_key(make_state, monkeypatch, tmp_path):
    key = secrets.token_urlsafe(24)
    file = tmp_path / "keys"
    file.write_text(f"# who may call\ngrader {key}\n")
    file.chmod(0o600)
    alone = tmp_path / "key"
    alone.write_text(f"{key}\n")
    monkeypatch.setenv("SANDSTREAM_KEYS_FILE", str(file))
    monkeypatch.setenv("SANDSTREAM_HOST", "0.0.0.0")
    async with system(make_state(), []) as running:
        monkeypatch.setenv("SANDSTREAM_PORT", str(urlsplit(running.url).port))
        # where `up` serves the key comes from the server's own file; elsewhere one is named
        code, said = await in_a_terminal("submit", str(EXAMPLE))
        assert code == 0, said
        assert "accepted" in said
        code, said = await in_a_terminal("list", "--url", running.url)
        assert (code, "Authorization: Bearer" in said) == (2, True), said
        code, said = await in_a_terminal("list", "--url", running.url, "--key-file", str(alone))
        assert (code, "accepted" in said) == (0, True), said
        async with httpx.AsyncClient(base_url=running.url) as http:
            assert (await http.get("/submissions")).status_code == 401
            assert (await http.get("/healthz")).status_code == 200
            bearer = {"Authorization": f"Bearer {key}"}
            assert (await http.get("/submissions", headers=bearer)).status_code == 200
            rebound = bearer | {"Host": "evil.example"}
            assert (await http.get("/submissions", headers=rebound)).status_code == 421


async def test_a_published_system_without_keys_does_not_start_and_says_why(make_state, monkeypatch):
    monkeypatch.delenv("SANDSTREAM_KEYS_FILE", raising=False)
    monkeypatch.setenv("SANDSTREAM_HOST", "0.0.0.0")
    with pytest.raises(StackFailedError, match="SANDSTREAM_KEYS_FILE: the API is published at"):
        async with system(make_state(), []):
            pass

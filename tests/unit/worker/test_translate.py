"""Between the log's words and the box's."""

from __future__ import annotations

import pytest

from init.profile import entry
from init.wire import Decoder, encode
from streams.content import inline, texts_or_base64
from streams.request import File, Request, TestCase
from worker import translate


class NoBlobs:
    async def bytes_of(self, content):
        return content.inline()


EVERY_BYTE = bytes(range(1, 256))


@pytest.mark.parametrize(
    "given", [(), (b"",), (b"a", "é".encode()), (b"a", EVERY_BYTE, b"\xff' \xe2\x80"), (b"\n",)]
)
async def test_arguments_come_to_the_entry_script_as_the_bytes_that_they_are(given):
    args, encoding = texts_or_base64(given)
    case = TestCase(args=args, args_encoding=encoding)
    assert case.arguments() == given
    request = Request(files=(File(name="run.sh", content=inline(b"")),), test_cases=(case,))
    job = await translate.job("s", 1, request, None, NoBlobs())
    (heard,) = Decoder().feed(encode(job))
    assert heard == job
    script = entry("/e", list(heard.cases[0].args), 3).encode(errors="surrogateescape")
    for arg in given:
        assert b"'" + arg.replace(b"'", b"'\\''") + b"'" in script


async def test_a_protected_file_comes_to_init_as_one():
    files = (
        File(name="run.sh", content=inline(b"")),
        File(name="key", content=inline(b"x"), protected=True),
    )
    job = await translate.job("s", 1, Request(files=files), None, NoBlobs())
    (heard,) = Decoder().feed(encode(job))
    assert [file.protected for file in heard.files] == [False, True]

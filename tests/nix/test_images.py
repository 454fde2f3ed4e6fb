"""What is in the images."""

from __future__ import annotations

import io
import time

import pytest

from nix import docker, images
from nix.channel.nar import sri
from nix.progress import Progress

pytestmark = pytest.mark.integration


def in_image(image: str, *command: str) -> str:
    return docker.Container(image, 30000).run(command)


@pytest.mark.parametrize("image", ["base", "runner", "builder"])
def test_nix_has_the_fix_in_every_image_that_has_nix(prepared, image):
    version = in_image(getattr(prepared.tags, image), "nix", "--version").split()[-1]
    assert tuple(map(int, version.split("."))) >= (2, 34, 5)


def test_jail_reaper_and_shell_are_where_the_worker_expects_them(prepared):
    tools = "nsjail --help 2>&1 | head -n 1; /usr/bin/tini-static --version; /usr/bin/busybox true"
    assert "tini version" in in_image(prepared.tags.base, "sh", "-ec", tools)


def test_jail_reaper_needs_no_library(prepared):
    script = "! patchelf --print-interpreter /usr/bin/tini-static 2>&1"
    assert "cannot find section '.interp'" in in_image(prepared.tags.base, "sh", "-c", script)


#: Prints how many files it has seen, and those whose start would give a right that nobody had.
GAINING = """
import os, stat
seen = 0
for top in ("/", "/tmp"):
    device = os.stat(top).st_dev
    for path, folders, files in os.walk(top):
        folders[:] = [f for f in folders if os.lstat(os.path.join(path, f)).st_dev == device]
        for name in files:
            file = os.path.join(path, name)
            status = os.lstat(file)
            seen += 1
            if not stat.S_ISREG(status.st_mode):
                continue
            if status.st_mode & 0o6000 or "security.capability" in os.listxattr(file):
                print(file)
print(seen)
"""


@pytest.mark.parametrize("image", ["base", "runner", "builder"])
def test_no_file_of_the_image_gains_privilege(prepared, image):
    script = 'cp /usr/bin/true /tmp/mine; chmod 4755 /tmp/mine; exec python3 -c "$1"'
    argv = ["sh", "-ec", script, "sh", GAINING]
    *found, seen = in_image(getattr(prepared.tags, image), *argv).splitlines()
    assert found == ["/tmp/mine"]  # the control: its own is seen
    assert int(seen) > 1000


def test_builder_image_has_its_dependencies(prepared):
    imports = "import nats, orjson, pydantic, pydantic_settings, sqlite3; print('ok')"
    argv = ["python3", "-c", imports]
    assert in_image(prepared.tags.builder, *argv).strip() == "ok"


def test_nats_image_has_the_server(prepared):
    assert in_image(prepared.tags.nats, "/nats-server", "--version").startswith("nats-server: v2.")


def test_second_build_builds_nothing_and_takes_a_moment(prepared):
    images.build(Progress())  # a source may have been edited since the session began
    said = io.StringIO()
    began = time.monotonic()
    images.build(Progress(said))
    assert said.getvalue() == ""
    assert time.monotonic() - began < 5


def test_our_archive_hash_is_nix_own(prepared, tmp_path):
    script = "mkdir -p t/d; printf abc > t/d/f; chmod +x t/d/f; ln -s d/f t/l; nix hash path t"
    (tmp_path / "t" / "d").mkdir(parents=True)
    (tmp_path / "t" / "d" / "f").write_text("abc")
    (tmp_path / "t" / "d" / "f").chmod(0o755)
    (tmp_path / "t" / "l").symlink_to("d/f")
    assert prepared.bash(script).strip() == sri(tmp_path / "t")

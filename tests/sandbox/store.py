"""A store path that stands in for a Nix closure: bash, coreutils and Python, made relocatable.

It is made out of the runner's own base image with patchelf and lies at a path of the right
shape, so that these tests need neither a channel nor a builder. What differs from a real closure
is only how it came to be.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "0123456789abcdfghijklmnpqrsvwxyz-fake-shell"
OTHER = "zyxwvsrqpnmlkjihgfdcba9876543210-of-somebody-else"
SHELL = f"/nix/store/{NAME}"
#: An environment whose closure is that path, and which has made none of its own.
ID = "e" * 64
ENVIRONMENT = f"/nix/store/{'9' * 32}-environment-{ID}"
#: Store paths that are links, as Nix lets a build's output be one, by where they lead.
LINKS = {
    f"/nix/store/{letter * 32}-link": target
    for letter, target in {
        "0": "/",
        "1": "/cgroup",
        "2": "/nix/store",
        "3": "/box",
        "4": "/no/such/path",
        "5": SHELL,
        "6": f"../store/{NAME}/bin",
    }.items()
}
#: One more, to where no jail's mount can lead.
COLON = f"/nix/store/{'7' * 32}-link"

_BUILD = r"""
set -eu
out=$1
real=/out/$2
mkdir -p $real/bin $real/lib
for tool in bash env cat ls echo sleep mkdir rm ln touch dd head wc yes true false id chmod \
            mv cp stat sort seq uname readlink tr date timeout mkfifo mktemp grep sed; do
  cp -L $(type -P $tool) $real/bin/$tool
done
cp -L /usr/bin/python3 $real/bin/python3
cp -rL /usr/lib/python3.* $real/lib/
ln -s bash $real/bin/sh
cp -L /lib64/ld-linux-x86-64.so.2 $real/lib/
for file in $real/bin/* $real/lib/python3.*/lib-dynload/*; do
  ldd $file 2>/dev/null | while read -r name arrow path rest; do
    if [ "$arrow" = '=>' ]; then cp -nL $path $real/lib/; fi
  done
done
for file in $real/bin/*; do
  if [ ! -L $file ]; then
    patchelf --set-rpath $out/lib $file
    patchelf --set-interpreter $out/lib/ld-linux-x86-64.so.2 $file
  fi
done
for file in $real/lib/lib*.so* $real/lib/python3.*/lib-dynload/*; do
  patchelf --set-rpath $out/lib $file || true
done
chmod -R a+rX /out
"""


def make(folder: Path, image: str) -> Path:
    """The store folder; made once, by whichever test process is first, and kept in `folder`."""
    store = folder / "store"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make(store, image)
        for path, target in {**LINKS, COLON: "a:b"}.items():
            link = store / path.rpartition("/")[2]
            if not link.is_symlink():
                link.symlink_to(target)
        _open_to_all(store / NAME / "open")
        (store / ENVIRONMENT.rpartition("/")[2]).mkdir(exist_ok=True)
        _register(folder / "var/nix/db/db.sqlite")
    return store


def _make(store: Path, image: str) -> None:
    if not (store / NAME / "done").exists():
        subprocess.run(["rm", "-rf", str(store)], check=True)
        store.mkdir(parents=True)
        argv = ["docker", "run", "--rm", "-i", "--network", "none", "-v", f"{store}:/out"]
        argv += ["--entrypoint", "/bin/bash", image, "-s", SHELL, NAME]
        subprocess.run(argv, input=_BUILD.encode(), check=True, stdout=subprocess.DEVNULL)
        (store / OTHER).mkdir()
        (store / OTHER / "secret").write_text("not yours\n")
        (store / NAME / "done").touch()


def _open_to_all(folder: Path) -> None:
    """A folder and a file that anybody may change: what keeps them is the jail's mount alone."""
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("as it was\n")
    (folder / "file").chmod(0o666)
    folder.chmod(0o777)


def _register(database: Path) -> None:
    """As Nix's own database says of a path that it is valid."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("create table if not exists ValidPaths (path text)")
        known = {path for (path,) in connection.execute("select path from ValidPaths")}
        missing = [(path,) for path in (SHELL, ENVIRONMENT) if path not in known]
        connection.executemany("insert into ValidPaths values (?)", missing)
        connection.commit()


def profile(**more: str) -> bytes:
    """What print-dev-env would tell about it, and `more` exported variables."""
    variables = {
        "BASH": {"type": "var", "value": f"{SHELL}/bin/bash"},
        "PATH": {"type": "exported", "value": f"{SHELL}/bin"},
        "PYTHONHOME": {"type": "exported", "value": SHELL},
    }
    variables |= {name: {"type": "exported", "value": value} for name, value in more.items()}
    return json.dumps({"variables": variables, "bashFunctions": {}}).encode()

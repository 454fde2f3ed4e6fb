"""What a service can do that needs nothing of the host: API, projector and the event log's server.

Each is a process in a jail of its own: a uid that nobody else has, no capability, no new
privileges, an allow list of system calls, and a file system that holds its own code and folders
alone. nsjail makes the jail and then becomes the service, so that its pid, its exit status and its
output are the service's own. The host's network stays: the API and NATS listen on its addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from init.jail import Bind, mount_words, policy_words
from sandstream import calls, runtime
from sandstream.credentials import PASSWORD_FILE, lend
from sandstream.state import CHECKOUT, State
from streams.server import ServerConfig, executable

NAMES: Final = ("nats", "api", "projector")
#: Above the uids of the builders' containers, 4 for each stack: nothing else has these.
_UID_FIRST: Final = 31_000
_UIDS: Final = 4
#: Of util-linux, which every Debian has.
SETPRIV: Final = "/usr/bin/setpriv"
#: Host names, the time zone, and whom TLS trusts: a cluster may be elsewhere.
_SYSTEM: Final = (
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
)
_DEVICES: Final = (
    Bind("/dev/null", "/dev/null", writable=True),
    Bind("/dev/urandom", "/dev/urandom"),
)
#: Files that belong to whoever runs the stack, of which a service gets a copy of its own.
_LENT: Final = {"api": ("SANDSTREAM_KEYS_FILE",)}
#: They mean something outside of the jail alone.
_OUTSIDE: Final = frozenset({"HOME", "PATH", "TMPDIR", "DOCKER_HOST"})


@dataclass(frozen=True)
class Confined:
    """A service's jail: who it is, and all that it sees."""

    name: str
    uid: int
    binds: tuple[Bind, ...]
    cwd: str = "/"

    def launcher(self) -> tuple[str, ...]:
        """The command line before the service's own."""
        words = [
            runtime.nsjail(),
            "--mode", "e",  # become the program: same pid, same parent
            "--quiet",
            "--time_limit", "0",
            "--nice_level", "0",
            "--skip_setsid",  # it leads a session already
            "--keep_env",
            "--hostname", f"sandstream-{self.name}",
            "--user", str(self.uid),
            "--group", str(self.uid),
            "--cwd", self.cwd,
            # we are root, and a user namespace would only hide who it is
            "--disable_clone_newuser",
            "--disable_clone_newnet",
            # nsjail becomes its first process: there is none beside it to be seen, and no /proc
            "--disable_clone_newpid",
            "--disable_proc",
            "--rlimit_nofile", "hard",
            "--rlimit_as", "hard",
            "--rlimit_cpu", "hard",
            "--rlimit_fsize", "hard",
            "--rlimit_core", "0",  # a core would have its password
        ]  # fmt: skip
        program = Bind(str(Path(SETPRIV).resolve()), SETPRIV)
        for entry in (*_DEVICES, program, *self.binds):
            words += mount_words(entry)
        # nsjail ties the service's life to ours; who kills `make up` must not end the event log
        return (*words, *policy_words(calls.policy()), "--", SETPRIV, "--pdeathsig", "clear")


def uid(state: State, name: str) -> int:
    """Who a service is; of another stack on this host it is someone else."""
    return _UID_FIRST + state.number * _UIDS + NAMES.index(name)


def service(name: str, state: State, environment: Mapping[str, str]) -> Confined:
    """The jail of `python -m NAME`: it sees its folder of the checkout, and its password.

    Copies what is lent to it. Raises OSError.
    """
    own = uid(state, name)
    seen = [*runtime.interpreter(), *(CHECKOUT / folder for folder in (name, *runtime.SHARED))]
    if name == "api":
        seen.append(CHECKOUT / environment.get("SANDSTREAM_LANGUAGES_FOLDER", "nix/languages"))
    if PASSWORD_FILE in environment:
        seen.append(Path(environment[PASSWORD_FILE]))
    lent = []
    for variable in _LENT.get(name, ()):
        original = CHECKOUT / environment.get(variable, "")
        if original.is_file():
            copy = state.passwords / variable.lower()
            lend(original, copy, own)
            lent.append(Bind(str(copy.resolve()), str(original)))
    binds = (*_read_only([*seen, *map(Path, _SYSTEM)]), *lent)
    return Confined(name, own, binds, cwd=str(CHECKOUT))


def event_log(config: ServerConfig) -> Confined:
    """The jail of a server: it writes below its folder, and sees nothing else of the host."""
    assert config.uid is not None  # noqa: S101 - who confines it has said as whom
    folders = [Bind(str(config.folder.resolve()), str(config.folder), writable=True)]
    if config.store.is_symlink():  # on another disk, say
        store = str(config.store.resolve())
        folders.append(Bind(store, store, writable=True))
    system = _read_only(map(Path, (*runtime.LIBRARIES, executable(), *_SYSTEM)))
    return Confined("nats", config.uid, (*system, *folders))


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Less what a jail has nothing of."""
    return {name: value for name, value in ours.items() if name not in _OUTSIDE}


def _read_only(paths: Iterable[Path]) -> Iterator[Bind]:
    """What is there of them, each at its own place."""
    for path in paths:
        if path.exists():
            yield Bind(str(path.resolve()), str(path))

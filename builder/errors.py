"""What can go wrong in a builder through our own fault: never a result, always tried again.

BuilderError
├── DaemonFailed      the job's nix-daemon did not start, or ended by itself
├── NotRecorded       set-up has not recorded this channel's derivations (`trusted.py`)
├── BoxGone           a build container ended, or does not answer in our words
├── AttackedStore     a job wrote where trusted paths are; nothing of it is kept
├── StaleStore        what is trusted changed while a job was at work: the job begins again
├── WrongChannel      the submission was made for another channel than the one mounted here
├── StoreInUse        an older version's store can't be dropped: somebody uses it
└── StoreFailed       a command of the store's own failed; command and words are kept
"""

from __future__ import annotations

from pathlib import Path

from streams.environments import ATTACK


class BuilderError(Exception):
    """Any trouble of ours."""


class DaemonFailed(BuilderError):
    """No daemon for this job."""

    def __init__(self, job: str, words: str) -> None:
        super().__init__(f"nix-daemon of {job}: {words}")
        self.job = job
        self.words = words


class BoxGone(BuilderError):
    """A build container broke off."""

    def __init__(self, job: str, cause: str) -> None:
        super().__init__(f"build container of {job}: {cause}")
        self.job = job
        self.cause = cause


class AttackedStore(BuilderError):
    """A build reached out of Nix's sandbox, and changed paths that are not its own.

    Only the job's own view of them: the store below can't be written to from there.
    """

    def __init__(self, environment_id: str, paths: list[str]) -> None:
        super().__init__(
            f"{ATTACK}the build of environment {environment_id} wrote where trusted paths are:"
            f" {', '.join(paths[:5])}; nothing of it is kept"
        )
        self.environment_id = environment_id
        self.paths = paths


class StaleStore(BuilderError):
    """The job's snapshot of the store is too old: a path became trusted, or is no longer."""

    def __init__(self, environment_id: str, paths: list[str]) -> None:
        super().__init__(
            f"environment {environment_id}: what is trusted changed while it was built:"
            f" {', '.join(paths[:5])}"
        )
        self.environment_id = environment_id
        self.paths = paths


class WrongChannel(BuilderError):
    """An environment that can't be made here: the channel is another revision."""

    def __init__(self, wanted: str, here: str) -> None:
        super().__init__(
            f"channel {wanted} is wanted, {here} is mounted; start builders and API with one state"
        )
        self.wanted = wanted
        self.here = here


class StoreInUse(BuilderError):
    """A store that has to be dropped is in use."""

    def __init__(self, store: Path) -> None:
        super().__init__(
            f"{store} was filled by an older version and has to be dropped, but workers use it:"
            " stop those of the older version"
        )
        self.store = store


class StoreFailed(BuilderError):
    """A command that must work did not."""

    def __init__(self, argv: list[str], status: int | None, words: str) -> None:
        super().__init__(f"{' '.join(argv)}: status {status}: {words}")
        self.argv = argv
        self.status = status
        self.words = words

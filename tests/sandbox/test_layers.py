"""What an environment has at a name is all there is at that name, whatever the store has there.

An overlay shows folders of one name in several layers as one. The same look at a path that the
environment does not have finds what lies in the store.
"""

from __future__ import annotations

import shutil
import uuid

import pytest

from init.frames import Case
from init.outcome import Outcome
from tests.sandbox import store

pytestmark = pytest.mark.integration


@pytest.fixture
def folders(sandbox):
    """Makes folders in the store: files by name, each with its text."""
    made = []

    def make(name, **files):
        folder = sandbox.store / name
        made.append(sandbox.store / name.split("/")[0])
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text)
        return f"/nix/store/{name}"

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def name(of):
    return f"{uuid.uuid4().hex}-{of}"


def seen(sandbox, path, environment, cases=1, **more):
    """What a run finds at a path: for each case its files, each as `name=text`."""
    answer = sandbox.run(
        f'cd {path}; for file in *; do echo "$file=$(cat "$file")"; done',
        *[Case()] * cases,
        closure=(store.SHELL, path),
        environment=environment,
        **more,
    )
    assert {run.outcome for run in answer.runs} == {Outcome.OK}, answer.frames
    (found,) = {run.stdout.decode() for run in answer.runs}
    return found.split()


@pytest.mark.parametrize("at_once", [1, 2])
def test_folder_of_an_environment_takes_in_nothing_of_the_stores(sandbox, folders, at_once):
    """Another's build made the trusted side add the same path, after this one was built."""
    both = name("both")
    environment = name("environment")
    folders(both, ours="trusted", theirs="trusted")
    folders(f"{environment}/{both}", ours="own")
    given = {"cases": at_once, "at_once": at_once}
    path = f"/nix/store/{both}"
    assert seen(sandbox, path, f"/nix/store/{environment}", **given) == ["ours=own"]
    other = folders(name("other"), file="other")
    assert seen(sandbox, path, other, **given) == ["ours=trusted", "theirs=trusted"]


def test_an_empty_folder_opens_no_environment_of_another(sandbox, folders):
    """A hostile container may hand over whatever names it likes."""
    theirs = name(f"environment-{'f' * 64}")
    path = folders(theirs, secret="secret")
    environment = name("environment")
    folders(f"{environment}/{theirs}", file="own")
    assert seen(sandbox, path, f"/nix/store/{environment}") == ["file=own"]

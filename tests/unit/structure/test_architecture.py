"""The arrows that README.md draws, read from the imports themselves."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Who may import whom. Services never meet but in the leaves.
ARROWS = {
    "init": set(),
    "egress": set(),
    "streams": {"init"},
    "nix": {"init"},
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


#: Where a distribution's name is not that of its module.
DISTRIBUTIONS = {"nats": "nats-py"}


def test_whatever_is_imported_is_declared_and_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = re.compile(r"[A-Za-z0-9_-]+")
    declared = {words.match(one)[0] for one in project["dependencies"]}
    lock = (ROOT / "requirements.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    ours = {*PACKAGES, *sys.stdlib_module_names}
    for package in PACKAGES:
        for file in modules(package):
            for name in {name.split(".")[0] for name in imports(file)} - ours:
                distribution = DISTRIBUTIONS.get(name, name.replace("_", "-"))
                assert distribution in declared, f"{file.relative_to(ROOT)} imports {name}"
                assert distribution in locked, f"{distribution} is not in requirements.txt"


@pytest.mark.parametrize("package", STDLIB_ONLY)
def test_the_box_and_the_set_up_need_nothing_but_the_standard_library(package):
    allowed = sys.stdlib_module_names | {package} | ARROWS[package]
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


#: What a module may call while it is imported. Besides: frozen records of ours (`frozen()`), and
#: the methods of a constant.
ON_IMPORT = {
    # of the language: values out of values
    "dict.fromkeys", "float", "frozenset", "len", "map", "next", "slice", "tuple",
    # of its library: values too, that reach for nothing
    "Context", "Decimal", "IPv6Network", "Path", "Path().resolve", "Path().with_name", "TypeVar",
    "datetime.min.replace", "re.compile", "struct.Struct", "timedelta",
    # empty at first: what is known of a connection, as long as there is one
    "WeakKeyDictionary",
    # a name; who listens to it, and where it is written, is said by __main__
    "logging.getLogger",
    # declarations: what dataclasses, pydantic and FastAPI read later
    "APIRouter", "AliasChoices", "ConfigDict", "Depends", "FailFast", "Field", "Query",
    "SettingsConfigDict", "TypeAdapter", "field",
    # pure functions of ours
    "_WALL.maximum", "_of_stage", "_said", "_takes", "defaults", "nar.number", "nar.word",
    "nar.words", "total_defaults",
    "readmodel.bucket",
    # the C library that this process has anyway
    "ctypes.CDLL",
    # asked of the kernel, changes nothing: a process keeps its cores
    "os.sched_getaffinity",
}  # fmt: skip


def called(function: ast.expr) -> str:
    """What a call calls: its name, and () for a call in it."""
    if isinstance(function, ast.Attribute):
        return f"{called(function.value)}.{function.attr}"
    if isinstance(function, ast.Call):
        return f"{called(function.func)}()"
    if isinstance(function, ast.Constant):
        return "constant"
    return ast.unparse(function)


def on_import(tree: ast.AST) -> list[str]:
    """Every call outside of functions, and of what only a program or mypy reaches.

    A class's body is run on import too; its decorators and those of functions are declarations.
    """
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.ClassDef):
            found += on_import(ast.Module(node.body, []))
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in {
            "__name__ == '__main__'",
            "TYPE_CHECKING",
        }:
            continue
        if isinstance(node, ast.Call):
            found.append(called(node.func))
        found += on_import(node)
    return found


def frozen() -> set[str]:
    """The names of our frozen dataclasses and models."""
    return {
        node.name
        for package in PACKAGES
        for file in modules(package)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
        and (
            any("frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list)
            or any(ast.unparse(base) == "Frozen" for base in node.bases)
        )
    }


def test_nothing_happens_on_import():
    """No module but __main__ calls anything that opens, starts, connects or configures."""
    allowed = ON_IMPORT | frozen()
    for package in PACKAGES:
        for file in modules(package):
            if file.name == "__main__.py" or "languages" in file.parts:  # programs
                continue
            made = set(on_import(ast.parse(file.read_text())))
            strange = {name for name in made - allowed if not name.startswith("constant.")}
            assert not strange, f"{file.relative_to(ROOT)} calls on import: {strange}"


@pytest.mark.parametrize(
    "text",
    [
        "socket = connect()",
        "A, B = 1, Path('x').read_text()",
        "if True:\n    x = open('x')",
        "for name in os.listdir():\n    pass",
        "with Popen(['x']) as p:\n    pass",
        "NAMES = [run(x) for x in 'ab']",
        "try:\n    import x\nexcept ImportError:\n    os.mkdir('x')",
        "logging.basicConfig()",
        "class C:\n    x = connect()",
        "x = subprocess.run(['x']).stdout.strip()",
    ],
)
def test_what_happens_on_import_is_seen(text):
    assert set(on_import(ast.parse(text))) - ON_IMPORT


def test_what_only_a_call_or_a_program_does_is_not_on_import():
    function = "def f():\n    open('x')\n"
    method = "class C:\n    def m(self):\n        open('x')\n"
    text = f"{function}{method}if __name__ == '__main__':\n    f()\n"
    assert on_import(ast.parse(text)) == []


def test_every_package_says_what_it_is():
    for package in PACKAGES:
        assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())), package

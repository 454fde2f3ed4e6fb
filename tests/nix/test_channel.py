"""The offline channel: built by real Nix in an unprivileged container, run with only its closure."""

# ruff: noqa: E501 - programs in other languages, each on its line

from __future__ import annotations

import io
import json
import time

import pytest

from nix import channel
from nix.channel import apt, recipe
from nix.progress import Progress
from nix.run import CommandFailedError

pytestmark = pytest.mark.integration

PYTHON = "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ pkgs.python3 ]; }"
COMPILERS = "with import <nixpkgs> {}; mkShell { packages = [ gcc gnumake ]; }"


def with_packages(*names: str) -> str:
    return f"with import <nixpkgs> {{}}; mkShell {{ packages = [ {' '.join(names)} ]; }}"


def test_python_imports_its_whole_library_with_only_its_closure(prepared):
    modules = "asyncio bz2 ctypes curses decimal hashlib json lzma multiprocessing readline sqlite3 ssl uuid venv zlib zoneinfo"
    script = f"python3 -c 'import {', '.join(modules.split())}; print(ssl.OPENSSL_VERSION)'"
    assert prepared.jailed(PYTHON, script).startswith("OpenSSL 3")


def test_only_the_closure_can_be_seen(prepared):
    seen = prepared.jailed(PYTHON, "ls /nix/store").split()
    assert not [
        name for name in seen if name.endswith(".deb") or "bootstrap" in name or "gcc" in name
    ]
    assert any(name.endswith("python3-3.13.5-1") or "-python3-" in name for name in seen)


def test_stdenv_brings_the_usual_tools(prepared):
    script = """
    echo abc | grep -o b; echo b | sed s/b/c/; echo d | awk '{print $1}'
    echo e > e; tar -czf e.tgz e; gzip -t e.tgz; find . -name e; diff e e; ls | head -n 1; date +%Y >/dev/null
    """
    out = prepared.jailed("with import <nixpkgs> {}; mkShell {}", script)
    assert out.split() == ["b", "c", "d", "./e", "e"]


def test_c_program_with_threads_runs_with_only_the_closure(prepared):
    script = """
    cat > a.c <<'C'
    #include <math.h>
    #include <pthread.h>
    #include <stdio.h>
    static void *leave(void *p) { pthread_exit(p); }
    int main(int count, char **v) {
      pthread_t t; pthread_create(&t, 0, leave, 0); pthread_join(t, 0);
      printf("%.3f\\n", sqrt(count + 1.0)); return 0;
    }
    C
    gcc -O2 -pthread a.c -o a -lm; ./a; cc -static a.c -o b -lm; ./b; c99 a.c -o c -lm; ./c
    """
    assert prepared.jailed(COMPILERS, script).split() == ["1.414"] * 3


def test_cpp_program_with_exceptions_threads_and_iostream_runs_with_only_the_closure(prepared):
    script = """
    cat > a.cpp <<'C'
    #include <iostream>
    #include <stdexcept>
    #include <thread>
    int main() {
      int n = 0; std::thread t([&] { n = 1; }); t.join();
      try { throw std::runtime_error("thrown"); } catch (const std::exception &e) { std::cout << e.what() << n << std::endl; }
    }
    C
    g++ -std=c++23 -O2 -pthread a.cpp -o a; ./a
    g++ -fsanitize=address,undefined a.cpp -o b; ./b
    g++ -flto -O2 a.cpp -o c; ./c
    printf 'all: a.cpp\\n\\t@g++ -o d a.cpp && ./d\\n' > Makefile; make
    """
    assert prepared.jailed(COMPILERS, script).split() == ["thrown1"] * 4


def test_libraries_of_build_inputs_are_found_by_the_compiler(prepared):
    shell = "with import <nixpkgs> {}; mkShell { nativeBuildInputs = [ gcc ]; buildInputs = [ gmp zlib ]; }"
    script = """
    printf '#include <gmpxx.h>\\n#include <zlib.h>\\n#include <iostream>\\nint main(){mpz_class a("100000000000000000000"); std::cout<<a*a<<" "<<zlibVersion()[0];}' > a.cpp
    g++ a.cpp -o a -lgmpxx -lgmp -lz; ./a
    """
    assert prepared.jailed(shell, script) == "10000000000000000000000000000000000000000 1"


LANGUAGES = {
    "perl": "perl -MJSON::PP -MList::Util=sum -MPOSIX -e 'print sum(1, 2)'",
    "lua": "lua -e 'io.write(1 + 2)'",
    "ruby": "ruby -rjson -rset -e 'print JSON.parse(\"[3]\")[0]'",
    "nodejs": """
        echo 'exports.x = 3' > b.cjs
        echo 'import {x} from "./b.cjs"; import {Worker} from "worker_threads"; await fetch("data:,hi"); new Worker(`process.stdout.write(String(${x}))`, {eval: true})' > a.mjs
        node a.mjs""",
    "go": """
        printf 'package main\\nimport "fmt"\\nfunc main() { fmt.Print(1 + 2) }\\n' > a.go
        go build a.go; ./a | grep -q 3; go run a.go""",
    "jdk": """
        echo 'public class A { public static void main(String[] a) { System.out.print(java.util.stream.IntStream.range(0, 3).parallel().count()); } }' > A.java
        javac A.java; java A""",
    "php": """
        echo '<?php echo (new DateTime("2026-07-01", new DateTimeZone("Europe/Paris")))->getOffset() / 3600 + mb_strlen("é");' > a.php
        php a.php""",
    "sqlite": "sqlite3 :memory: 'select 1 + 2'",
    "tcl": "echo 'puts [expr {[clock format 0 -format %Y -gmt 1] - 1967}]' > a.tcl; tclsh a.tcl",
    "typescript": """
        printf 'const three: number = 1 + 2;\\nconsole.log(three);\\n' > a.ts
        tsc --strict a.ts; grep -q 'var three' a.js; echo "const one: number = \"1\"" > b.ts; ! tsc b.ts >/dev/null; echo 3""",
    "fpc": """
        printf 'uses SysUtils, Math, fgl; begin Write(IntToStr(Max(3, 1))) end.' > a.pas
        fpc -v0 a.pas; ./a""",
    "sbcl": "sbcl --noinform --non-interactive --eval '(require :sb-bsd-sockets)' --eval '(princ (+ 1 2))'",
    "rustc": """
        echo 'fn main() { std::thread::spawn(|| print!("{}", 1 + 2)).join().unwrap(); }' > a.rs
        rustc -O a.rs; ./a""",
    "file": "printf '#!/bin/sh\\n' > a; file a | grep -q 'shell script' && printf 3",
    "jq": "echo '[1, 2]' | jq -j add",
    "bc": "echo 1 + 2 | bc | tr -d '\\n'",
}


@pytest.mark.parametrize(
    "packages",
    ["(python3.withPackages (ps: [ ps.numpy ps.sympy ]))", "python3 python3Packages.numpy"],
)
def test_python_finds_the_modules_of_its_shell(prepared, packages):
    script = "python3 -c 'import numpy as np; print(int(np.linalg.det(np.eye(2)) * 3), end=\"\")'"
    assert prepared.jailed(with_packages(packages), script) == "3"


@pytest.mark.parametrize("name", LANGUAGES)
def test_language_runs_with_only_its_closure(prepared, name):
    assert prepared.jailed(with_packages(name), LANGUAGES[name]).strip() == "3"


def test_environment_has_what_the_shell_says(prepared):
    shell = """
    { pkgs ? import <nixpkgs> { } }:
    let hello = pkgs.stdenv.mkDerivation { name = "hello"; buildInputs = [ pkgs.jq ]; shellHook = "FROM=1"; }; in
    pkgs.mkShell {
      inputsFrom = [ hello ];
      packages = with pkgs; [ lua (writeShellScriptBin "hi" "echo hi $1") ];
      LIST = [ "x" "y" ]; TRUE = true; NONE = null; NUMBER = 3; env.INNER = "i";
      LINES = ''
        one
          two "$HOME"
      '';
      PATHS = pkgs.lib.makeBinPath [ pkgs.jq ];
      shellHook = "OWN=1";
    }"""
    out = prepared.bash("nix print-dev-env --offline --json -f shell.nix", {"shell.nix": shell})
    variables = {k: v.get("value") for k, v in json.loads(out)["variables"].items()}
    assert variables["LIST"] == "x y"
    assert (variables["TRUE"], variables["NUMBER"], variables["INNER"]) == ("1", "3", "i")
    assert "NONE" not in variables
    assert variables["LINES"] == 'one\n  two "$HOME"\n'
    assert variables["shellHook"] == "FROM=1\nOWN=1"
    for name in ("-jq-", "-lua5_4-", "-hi/bin", "-bash-", "-coreutils-", "-gcc-"):
        assert name in variables["PATH"], name


def test_input_derivation_refers_to_every_input_and_a_second_build_is_quick(prepared):
    script = """
    path="$(nix-build shell.nix -A inputDerivation --no-out-link 2>said)"
    nix-store --query --requisites "$path"
    echo; cat said
    """
    closure = prepared.bash(script, {"shell.nix": COMPILERS}).partition("\n\n")[0]
    for name in ("-gcc-", "-gnumake-", "-bash-", "-stdenv-no-cc", "-debian-libraries-"):
        assert name in closure, name
    began = time.monotonic()
    again = prepared.bash(script, {"shell.nix": COMPILERS})
    assert "building '" not in again
    assert time.monotonic() - began < 15


def test_trivial_derivations_build(prepared):
    shell = """
    with import <nixpkgs> { };
    mkShell { packages = [
      (stdenv.mkDerivation { pname = "made"; version = "1"; src = ./src; makeFlags = [ "X=1" ]; })
      (stdenv.mkDerivation { name = "phases"; src = ./src; buildPhase = "gcc -o phases a.c"; installPhase = "install -D phases $out/bin/phases"; })
      (runCommand "ran" { } "mkdir -p $out/bin; printf '#!/bin/sh\\\\necho ran' > $out/bin/ran; chmod +x $out/bin/ran")
      (callPackage ({ writeShellApplication, jq }: writeShellApplication { name = "app"; runtimeInputs = [ jq ]; text = "jq -n 4"; }) { })
      (symlinkJoin { name = "joined"; paths = [ lua ]; })
    ]; }"""
    script = """
    mkdir src; mv a.c Makefile src/
    nix-build shell.nix -A inputDerivation --no-out-link
    eval "$(nix print-dev-env --offline -f shell.nix)" >/dev/null; made; phases; ran; app; lua -v
    """
    files = {
        "shell.nix": shell,
        "a.c": '#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n',
        "Makefile": "all:\n\tgcc -o made a.c\ninstall:\n\tmkdir -p $(PREFIX)/bin && cp made $(PREFIX)/bin\n",
    }
    out = prepared.bash(script, files).splitlines()
    assert out[1:5] == ["compiled", "compiled", "ran", "4"]
    assert out[5].startswith("Lua 5.4")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ghc", "the offline channel has no `ghc`"),
        ("python3Packages.pandas", "python3Packages has no `pandas`"),
        ("haskellPackages.lens", "It has: bash"),
        ('fetchurl { url = "https://example.org/x"; }', "can't fetch https://example.org/x"),
        ("nothing_of_this_name", "attribute 'nothing_of_this_name' missing"),
    ],
)
def test_what_is_missing_says_what_is_there(prepared, expression, expected):
    script = f"nix-instantiate --eval -E '(import <nixpkgs> {{ }}).{expression}'"
    with pytest.raises(CommandFailedError, match=r".") as caught:
        prepared.bash(script)
    assert expected in caught.value.output


def test_every_name_that_the_channel_offers_evaluates(prepared):
    script = """nix-instantiate --eval --strict -E 'let p = import <nixpkgs> { };
      names = builtins.attrNames (builtins.fromJSON (builtins.readFile <nixpkgs/packages.json>)).packages;
      in builtins.length (map (name: (p.lib.getAttrFromPath (p.lib.splitString "." name) p).outPath) names)'"""
    assert int(prepared.bash(script)) >= 20


def test_closures_out_of_the_excerpt_are_those_of_the_whole_index(prepared):
    cache = (prepared.state / "channel-cache").resolve()
    asked = recipe.read()
    whole, excerpt = (apt.Apt(cache / name, asked.suite) for name in ("apt", "apt-narrowed"))
    for name in ("jq", "openjdk-21-jdk-headless", "php8.4-cli"):
        kept = [
            [deb for deb in root.closure([name]) if deb.package not in asked.exclude]
            for root in (whole, excerpt)
        ]
        assert kept[0] == kept[1]


def test_revision_is_stable_and_the_second_preparation_is_quick(prepared):
    before = channel.revision(prepared.state)
    said = io.StringIO()
    began = time.monotonic()
    assert channel.prepare(prepared.state, prepared.tags.base, Progress(said)) == before
    assert said.getvalue() == "", "a step was done again"
    assert time.monotonic() - began < 10

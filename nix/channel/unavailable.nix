# Names that nixpkgs has and people use: a clear error for each, instead of "attribute missing".
# (An attribute set can't answer for names that it does not have.)
{ lib, offered }:
let
  names = ''
    R agda alex ant apl assemblyscript awscli2 babashka bazel beam bison boost bun bwa cabal-install
    cargo chez chibi clang clang-tools clisp clojure cmake coq crystal csharp-ls cudatoolkit curl d2
    dart dc deno direnv dmd docker dotnet-runtime dotnet-sdk dotnet-sdk_8 dune_3 eigen elixir elmPackages
    emacs erlang factor-lang ffmpeg file fish flex forth fpc freebasic fsharp gambit gap gawkInteractive
    gcc11 gcc12 gcc13 gcc15 gdb gforth gfortran gfortran13 ghc git gleam gmp gnat gnuapl gnucobol go go_1_22
    go_1_23 gofmt gradle groovy guile guile_3_0 haskell haskellPackages haxe htop idris2 imagemagick
    j janet jdk jdk11 jdk17 jdk21 jdk8 jq julia julia-bin just kotlin kubectl latex lean4 ldc leiningen
    libgcc libxml2 lisp llvm lolcode lua lua5_1 lua5_3 lua5_4 luajit mariadb maven mercury meson mono
    mysql nano nasm nim ninja nix nodejs nodejs_18 nodejs_20 nodejs_22 nodejs_24 nodePackages 
    nushell ocaml ocamlPackages octave odin openjdk openssl opam pandoc patch perl perlPackages php
    php82 php83 pkg-config pnpm poetry pony ponyc postgresql powershell prolog purescript pypy3
    python2 python27 python39 python310 python311 python312 python314 python3Packages python311Packages
    python312Packages python313Packages qemu quickjs racket raku rakudo readline redis ripgrep roc rust
    rust-bin rustc rustup ruby ruby_3_2 ruby_3_3 sbcl sbt scala scala_3 smlnj souffle sqlite swi-prolog
    swift swiProlog tcl terraform texlive texliveFull time tmux tree typescript unzip uv v vala vim vlang wabt
    wasmtime wget xz yarn yasm yq zig zip zlib zsh zstd
  '';
  message = name: ''
    the offline channel has no `${name}`.
    It has: ${lib.concatStringsSep " " offered}.
    Every other name of nixpkgs needs the pinned nixpkgs, which this installation does not use.'';
in
lib.genAttrs (lib.filter (name: lib.isString name && name != "") (builtins.split "[ \n]+" names)) (name: throw (message name))

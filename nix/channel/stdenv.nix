# stdenv, mkDerivation and mkShell, as far as shells and trivial derivations need them.
# mkShell stands on stdenvNoCC here: gcc is 250 MB that most shells have no use for.
{ lib, self, system, triplet }:
let
  shell = "${self.bash}/bin/bash";

  # What nixpkgs' stdenv brings to every shell.
  common = with self; [ bash coreutils findutils gnugrep gnused gawk gnutar gzip diffutils ];

  makeStdenv = { name, initialPath, cc }:
    let
      drv = derivation {
        inherit name system triplet;
        builder = shell;
        args = [ "-eu" ./build/stdenv.sh ];
        PATH = "${self.coreutils}/bin:${self.gnused}/bin";
        setup = ./build/setup.sh;
        initialPath = map toString initialPath;
        inherit shell;
        libraries = self.debianLibraries;
      };
    in
    drv // rec {
      inherit cc initialPath shell system;
      mkDerivation = makeDerivation stdenv;
      hostPlatform = {
        inherit system;
        isLinux = true;
        isDarwin = false;
        isx86_64 = system == "x86_64-linux";
        isAarch64 = system == "aarch64-linux";
      };
      buildPlatform = hostPlatform;
      targetPlatform = hostPlatform;
      inherit (hostPlatform) isLinux isDarwin isx86_64 isAarch64;
      override = _: stdenv;
      stdenv = drv // { inherit mkDerivation cc initialPath shell system hostPlatform buildPlatform targetPlatform; };
    };

  # Neither is for the builder's environment.
  notEnvironment = [ "meta" "passthru" "env" "pos" "outputs" ];

  makeDerivation = stdenv: given:
    let
      attrs = if lib.isFunction given then lib.fix (final: given (final // result)) else given;
      arguments = removeAttrs attrs notEnvironment // (attrs.env or { }) // {
        name = attrs.name or "${attrs.pname}-${attrs.version or "0"}";
        inherit system stdenv;
        outputs = attrs.outputs or [ "out" ];
        builder = attrs.realBuilder or shell;
        args = attrs.args or [ "-e" (attrs.builder or ./build/generic.sh) ];
        nativeBuildInputs = attrs.nativeBuildInputs or [ ];
        buildInputs = attrs.buildInputs or [ ];
        propagatedBuildInputs = attrs.propagatedBuildInputs or [ ];
        propagatedNativeBuildInputs = attrs.propagatedNativeBuildInputs or [ ];
        __ignoreNulls = true;
      };
      # nixpkgs' way to cache a whole shell: it depends on all inputs, its output names them.
      inputDerivation = derivation (removeAttrs arguments [ "outputHash" "outputHashAlgo" "outputHashMode" ] // {
        name = "${arguments.name}-inputs";
        outputs = [ "out" ];
        builder = shell;
        args = [ "-c" "declare -p > $out" ];
      });
      drv = derivation arguments;
      result = drv // (attrs.passthru or { }) // {
        inherit inputDerivation stdenv;
        inherit (arguments) nativeBuildInputs buildInputs propagatedBuildInputs propagatedNativeBuildInputs;
        meta = attrs.meta or { };
        passthru = attrs.passthru or { };
        shellHook = attrs.shellHook or "";
        overrideAttrs = change: makeDerivation stdenv
          (attrs // (let new = change attrs; in if lib.isFunction new then change { } attrs else new));
      } // lib.optionalAttrs (attrs ? pname) { inherit (attrs) pname; }
      // lib.optionalAttrs (attrs ? version) { inherit (attrs) version; };
    in
    result;

  makeMkShell = stdenv:
    let
      mkShell =
        { name ? "nix-shell"
        , packages ? [ ]
        , inputsFrom ? [ ]
        , buildInputs ? [ ]
        , nativeBuildInputs ? [ ]
        , propagatedBuildInputs ? [ ]
        , propagatedNativeBuildInputs ? [ ]
        , ...
        }@attrs:
        let
          own = { inherit buildInputs propagatedBuildInputs propagatedNativeBuildInputs; nativeBuildInputs = packages ++ nativeBuildInputs; };
          merge = field: own.${field} ++ lib.subtractLists inputsFrom
            (lib.flatten (lib.catAttrs field (lib.filter lib.isAttrs inputsFrom)));
          # A derivation of stdenv is built with gcc and make, so its shell has them.
          compilers = lib.unique (lib.concatMap
            (drv: lib.optionals ((drv.stdenv.cc or null) != null) [ drv.stdenv.cc self.gnumake ])
            inputsFrom);
        in
        makeDerivation stdenv (removeAttrs attrs [ "packages" "inputsFrom" ] // {
          inherit name;
          buildInputs = merge "buildInputs";
          nativeBuildInputs = merge "nativeBuildInputs" ++ compilers;
          propagatedBuildInputs = merge "propagatedBuildInputs";
          propagatedNativeBuildInputs = merge "propagatedNativeBuildInputs";
          shellHook = lib.concatStringsSep "\n"
            (lib.catAttrs "shellHook" (lib.reverseList inputsFrom ++ [ attrs ]));
          phases = attrs.phases or [ "buildPhase" ];
          buildPhase = attrs.buildPhase or "export > $out";
          preferLocalBuild = true;
        });
    in
    {
      __functor = _: mkShell;
      override = { stdenv ? stdenv', ... }: makeMkShell stdenv;
    };
  stdenv' = standard.stdenvNoCC;

  standard = {
    stdenvNoCC = makeStdenv { name = "stdenv-no-cc"; initialPath = common; cc = null; };
    stdenv = makeStdenv { name = "stdenv"; initialPath = common ++ [ self.gcc self.gnumake ]; cc = self.gcc; };
    gccStdenv = standard.stdenv;
    mkShell = makeMkShell self.stdenvNoCC;
    mkShellNoCC = makeMkShell self.stdenvNoCC;
  };
in
standard

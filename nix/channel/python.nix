# python3 with `pkgs` and `withPackages`, as in nixpkgs: a wrapper that knows where its modules are.
{ lib, system, bash, coreutils, python3, packages }:
let
  missing = names: name: throw "the offline channel's python3Packages has no `${name}`. It has: ${lib.concatStringsSep " " names}.";
  common = lib.genAttrs [ "pandas" "scipy" "matplotlib" "requests" "networkx" "scikit-learn" "torch" "pip" "setuptools" "virtualenv" "flask" "pillow" "pyyaml" "mypy" "black" "ipython" "jupyter" "numba" "cython" "more-itertools" ]
    (missing (lib.attrNames packages));
  pkgs = common // packages // { python = self; buildPythonPackage = missing [ ] "buildPythonPackage"; };

  environment = modules: derivation {
    name = "${python3.name}-env";
    inherit system;
    builder = "${bash}/bin/bash";
    args = [ "-eu" ./build/python.sh ];
    PATH = "${coreutils}/bin";
    inherit bash python3;
    modules = lib.unique modules;
  };

  self = python3 // {
    inherit pkgs;
    withPackages = choose: environment (choose pkgs);
    buildEnv.override = { extraLibs ? [ ], ... }: environment extraLibs;
    pythonVersion = lib.concatStringsSep "." (lib.take 2 (lib.splitString "." python3.version));
    interpreter = "${python3}/bin/python3";
    sitePackages = "lib/python3/dist-packages";
  };
in
self

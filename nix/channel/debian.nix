# One derivation for each attribute, one for the shared libraries, one for each .deb.
{ lib, index }:
let
  inherit (index) system triplet loader;

  # Set-up has added these to the store under exactly these paths: valid paths are never built.
  # Where one is missing (a store that set-up did not fill), this says so instead of guessing.
  fixed = name: hash: mode: derivation {
    inherit name system;
    builder = "/bin/sh";
    args = [ "-c" "echo '${name} is not in this store: run `python -m nix channel` again' >&2; exit 1" ];
    outputHash = hash;
    outputHashAlgo = if lib.hasPrefix "sha256-" hash then null else "sha256";
    outputHashMode = mode;
    preferLocalBuild = true;
    __ignoreNulls = true;
  };
  debs = lib.mapAttrs (file: sha256: fixed file sha256 "flat") index.debs;
  bootstrap = fixed "debian-bootstrap" index.bootstrap "recursive";

  unpack = { pname, version, files, extra ? { } }:
    let
      drv = derivation ({
        inherit system triplet loader bootstrap pname version;
        name = "${pname}-${version}";
        builder = "${bootstrap}/bin/busybox";
        args = [ "sh" "-eu" ./build/unpack.sh ];
        debs = map (file: debs.${file}) files;
        patch = ./build/patch.sh;
      } // extra);
    in
    drv // { meta = { mainProgram = pname; priority = 5; }; passthru = { }; override = _: drv; overrideAttrs = _: drv; };

  libraries = unpack {
    pname = "debian-libraries";
    version = index.suite;
    files = index.libraries;
    extra.libraries = "";
  };

  package = name: entry: unpack {
    pname = name;
    inherit (entry) version;
    files = entry.debs;
    extra = {
      inherit libraries;
      links = lib.mapAttrsToList (path: target: "${path}=${target}") entry.links;
      shares = map (name: "${packages.${name}}") entry.shares;
    } // lib.optionalAttrs (entry.hook != null) ({
      hook = ./packages + "/${entry.hook}";
      wrap = ./build/wrap.sh;
      shell = "${packages.bash}/bin/bash";
    } // lib.genAttrs (entry.needs ++ entry.shares) (name: packages.${name}));
  };

  # "python3Packages.numpy" is `numpy` in the set `python3Packages`.
  isPython = name: lib.hasPrefix "python3Packages." name;
  built = lib.mapAttrs package index.packages;
  python = import ./python.nix {
    inherit lib system;
    inherit (built) bash coreutils;
    python3 = built.python3;
    packages = lib.mapAttrs' (name: lib.nameValuePair (lib.removePrefix "python3Packages." name))
      (lib.filterAttrs (name: _: isPython name) built);
  };
  own = lib.filterAttrs (name: _: !isPython name) built // { python3 = python; };
  aliases = lib.listToAttrs (lib.concatLists (lib.mapAttrsToList
    (name: entry: map (alias: lib.nameValuePair alias own.${name}) entry.aliases)
    index.packages));
  packages = own // aliases;
in
{
  inherit libraries bootstrap;
  packages = packages // { python3Packages = python.pkgs; python313Packages = python.pkgs; };
}

# The offline channel: `import <nixpkgs> {}` out of Debian packages, built by real Nix derivations.
# Same names as nixpkgs where a name exists, far fewer of them; see ../README.md.
{ system ? null, config ? { }, overlays ? [ ], ... }:
let
  lib = import ./lib;
  index = builtins.fromJSON (builtins.readFile ./packages.json);

  base = self:
    let
      debian = import ./debian.nix { inherit lib index; };
      standard = import ./stdenv.nix { inherit lib self; inherit (index) system triplet; };
    in
    # What is missing comes first, so that everything real hides it.
    import ./unavailable.nix { inherit lib; offered = lib.attrNames debian.packages; }
    // debian.packages
    // standard
    // import ./trivial.nix { inherit lib self; }
    // {
      inherit lib config overlays;
      inherit (index) system;
      pkgs = self;
      debianLibraries = debian.libraries;
      channel = { name = "sandstream-offline"; inherit (index) suite; };
      callPackage = lib.callPackageWith self;
      hostPlatform = self.stdenv.hostPlatform;
      buildPackages = self;
      recurseIntoAttrs = attrs: attrs;
    };

  withOverlays = lib.foldl' (layer: overlay: self: let super = layer self; in super // overlay self super) base overlays;
in
if system != null && system != index.system
then throw "the offline channel is for ${index.system}, not for ${system}"
else lib.fix withOverlays

# nixpkgs' trivial builders: files, scripts and commands as derivations.
{ lib, self }:
let
  runCommandWith = stdenv: name: env: command:
    stdenv.mkDerivation ({ inherit name; buildCommand = command; preferLocalBuild = true; } // env);

  executable = name: text: writeTextFile { inherit name text; executable = true; };
  writeTextFile = { name, text, executable ? false, destination ? "", checkPhase ? "", meta ? { } }:
    runCommandWith self.stdenvNoCC name { inherit text executable destination meta; passAsFile = [ "text" ]; } ''
      target="$out$destination"
      mkdir -p "$(dirname "$target")"
      cp "$textPath" "$target"
      if [ -n "$executable" ]; then chmod +x "$target"; fi
      ${checkPhase}
    '';
  scriptBin = interpreter: name: text: writeTextFile {
    inherit name;
    text = "#!${interpreter}\n${text}\n";
    executable = true;
    destination = "/bin/${name}";
    meta.mainProgram = name;
  };
  noNetwork = name: arguments: throw ''
    ${name}: the offline channel has no network, so it can't fetch ${toString (arguments.url or arguments.urls or "a source")}.
    Put the files into the submission (under nix/) and refer to them by path.'';
in
{
  inherit writeTextFile;
  runCommand = runCommandWith self.stdenvNoCC;
  runCommandLocal = runCommandWith self.stdenvNoCC;
  runCommandNoCC = runCommandWith self.stdenvNoCC;
  runCommandCC = runCommandWith self.stdenv;
  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir = path: text: writeTextFile { name = baseNameOf path; inherit text; destination = "/${path}"; };
  writeScript = executable;
  writeScriptBin = name: text: writeTextFile { inherit name text; executable = true; destination = "/bin/${name}"; };
  writeShellScript = name: text: executable name "#!${self.bash}/bin/bash\n${text}\n";
  writeShellScriptBin = scriptBin "${self.bash}/bin/bash";
  writeShellApplication = { name, text, runtimeInputs ? [ ], ... }: scriptBin "${self.bash}/bin/bash" name ''
    set -o errexit -o nounset -o pipefail
    export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
    ${text}'';

  symlinkJoin = { name, paths, postBuild ? "", ... }: runCommandWith self.stdenvNoCC name { inherit paths; } ''
    mkdir -p $out
    for path in $paths; do cp -rs --no-preserve=mode --update=none "$path/." "$out/"; done
    ${postBuild}
  '';
  buildEnv = { name, paths, ... }: self.symlinkJoin { inherit name paths; };
  linkFarm = name: entries: runCommandWith self.stdenvNoCC name { } (''
    mkdir -p $out
  '' + lib.concatMapStrings (entry: ''
    mkdir -p "$out/$(dirname ${lib.escapeShellArg entry.name})"
    ln -s ${entry.path} $out/${lib.escapeShellArg entry.name}
  '') entries);

  # Nix itself fetches, where an administrator allows the host; everything else takes programs
  # that this channel does not have.
  fetchurl = { url, hash ? "", sha256 ? "", name ? baseNameOf (toString url), executable ? false, ... }@arguments:
    if hash == "" && sha256 == "" then noNetwork "fetchurl" arguments
    else import <nix/fetchurl.nix> ({ inherit url name executable; }
      // (if hash != "" then { inherit hash; } else { inherit sha256; }));
  fetchzip = noNetwork "fetchzip";
  fetchgit = noNetwork "fetchgit";
  fetchFromGitHub = arguments: noNetwork "fetchFromGitHub" { url = "${arguments.owner or "?"}/${arguments.repo or "?"}"; };
  fetchFromGitLab = noNetwork "fetchFromGitLab";
  fetchpatch = noNetwork "fetchpatch";
  fetchPypi = noNetwork "fetchPypi";
}

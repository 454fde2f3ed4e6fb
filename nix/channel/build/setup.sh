# Sourced first by every build and by `nix print-dev-env`: puts the inputs where programs look.
# Bash builtins only, until PATH stands.

export SHELL="$shell" CONFIG_SHELL="$shell"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-315532800}"
# glibc has Debian's absolute path compiled in, where nothing is here.
export LOCPATH="$libraries/usr/lib/locale"

PATH=""
declare -A __seen=()

__addToPath() { # VARIABLE FOLDER
  if [ -d "$2" ]; then export "$1=${!1:+${!1}:}$2"; fi
}

__addInput() {
  local input="$1" name
  if [ -n "${__seen[$input]:-}" ] || [ -z "$input" ]; then return 0; fi
  __seen[$input]=1
  __addToPath PATH "$input/bin"
  __addToPath PKG_CONFIG_PATH "$input/lib/pkgconfig"
  __addToPath PKG_CONFIG_PATH "$input/lib/$triplet/pkgconfig"
  __addToPath PKG_CONFIG_PATH "$input/share/pkgconfig"
  __addToPath XDG_DATA_DIRS "$input/share"
  if [ ! -e "$input/bin/python3" ]; then __addToPath PYTHONPATH "$input/lib/python3/dist-packages"; fi
  for name in "$input/include" "$input/include/$triplet"; do
    if [ -e "$input/nix-support/is-compiler" ]; then break; fi
    if [ -d "$name" ]; then export NIX_CFLAGS_COMPILE="${NIX_CFLAGS_COMPILE:-} -isystem $name"; fi
  done
  for name in "$input/lib" "$input/lib/$triplet"; do
    if [ -e "$input/nix-support/is-compiler" ]; then break; fi
    if compgen -G "$name/lib*.so" >/dev/null || compgen -G "$name/lib*.a" >/dev/null; then export NIX_LDFLAGS="${NIX_LDFLAGS:-} -L$name -rpath $name"; fi
  done
  if [ -f "$input/nix-support/setup-hook" ]; then source "$input/nix-support/setup-hook"; fi
  for name in propagated-build-inputs propagated-native-build-inputs; do
    if [ -f "$input/nix-support/$name" ]; then
      for input in $(<"$1/nix-support/$name"); do __addInput "$input"; done
    fi
  done
}

for __input in ${nativeBuildInputs:-} ${propagatedNativeBuildInputs:-} ${buildInputs:-} ${propagatedBuildInputs:-}; do
  __addInput "$__input"
done
for __input in $initialPath; do __addToPath PATH "$__input/bin"; done
export PATH
unset __input __seen
unset -f __addInput __addToPath

runHook() {
  local hook="$1"
  if [ "$(type -t "$hook")" = function ]; then "$hook"; else eval "${!hook:-}"; fi
}

runPhase() {
  if [ "$(type -t "$1")" = function ] && [ -z "${!1:-}" ]; then "$1"; else eval "${!1:-}"; fi
}

substituteInPlace() {
  local file="$1" content; shift
  content="$(<"$file")"
  while [ $# -gt 0 ]; do
    case "$1" in
      --replace | --replace-fail | --replace-warn | --replace-quiet) content="${content//"$2"/"$3"}"; shift 3 ;;
      --subst-var-by) content="${content//"@$2@"/"$3"}"; shift 3 ;;
      *) echo "substituteInPlace: $1 is not in the offline channel" >&2; return 1 ;;
    esac
  done
  printf '%s\n' "$content" > "$file"
}

patchShebangs() {
  local file line program
  [ "$1" != --build ] && [ "$1" != --host ] || shift
  while IFS= read -r file; do
    IFS= read -r line < "$file" || true
    [[ "$line" == '#!'* && "$line" != '#!/nix/store/'* ]] || continue
    read -r -a line <<< "${line#'#!'}"
    if [ "${line[0]##*/}" = env ]; then line=("${line[@]:1}"); fi
    program="$(type -P "${line[0]##*/}")" || continue
    line[0]="$program"
    sed -i "1s|.*|#!${line[*]}|" "$file"
  done < <(find "$@" -type f -perm -0100 -exec grep -Il '^#!' {} +)
}

unpackPhase() {
  runHook preUnpack
  local source folder
  for source in ${srcs:-${src:-}}; do
    if [ -d "$source" ]; then
      cp -r --no-preserve=ownership "$source" "source"
    else
      case "$source" in
        *.tar | *.tar.* | *.tgz) tar -xf "$source" ;;
        *) cp "$source" "$(basename "$source" | cut -c34-)" ;;
      esac
    fi
  done
  chmod -R u+w .
  folder="${sourceRoot:-}"
  if [ -z "$folder" ]; then
    for source in */; do if [ -d "$source" ]; then folder="$source"; break; fi; done
  fi
  if [ -n "$folder" ]; then cd "$folder"; fi
  runHook postUnpack
}
patchPhase() {
  runHook prePatch
  local file
  for file in ${patches:-}; do patch -p1 < "$file"; done
  runHook postPatch
}
configurePhase() {
  runHook preConfigure
  if [ -x ./configure ]; then ./configure --prefix="$out" ${configureFlags:-}; fi
  runHook postConfigure
}
buildPhase() {
  runHook preBuild
  if [ -e Makefile ] || [ -e makefile ] || [ -e GNUmakefile ]; then make SHELL="$shell" ${makeFlags:-} ${buildFlags:-}; fi
  runHook postBuild
}
checkPhase() { runHook preCheck; make SHELL="$shell" ${makeFlags:-} "${checkTarget:-check}"; runHook postCheck; }
installPhase() { runHook preInstall; make SHELL="$shell" PREFIX="$out" prefix="$out" ${makeFlags:-} "${installTargets:-install}"; runHook postInstall; }
fixupPhase() {
  runHook preFixup
  if [ -z "${dontPatchShebangs:-}" ] && [ -d "$out/bin" ]; then patchShebangs "$out/bin"; fi
  if [ -n "${propagatedBuildInputs:-}" ]; then
    mkdir -p "$out/nix-support"
    echo "$propagatedBuildInputs" > "$out/nix-support/propagated-build-inputs"
  fi
  runHook postFixup
}

genericBuild() {
  local phase skip
  set -e
  if [ -n "${buildCommandPath:-}" ]; then source "$buildCommandPath"; return; fi
  if [ -n "${buildCommand:-}" ]; then eval "$buildCommand"; return; fi
  for phase in ${phases:-unpackPhase patchPhase configurePhase buildPhase checkPhase installPhase fixupPhase}; do
    case "$phase" in
      unpackPhase) skip="${dontUnpack:-}" ;;
      configurePhase) skip="${dontConfigure:-}" ;;
      buildPhase) skip="${dontBuild:-}" ;;
      checkPhase) if [ -n "${doCheck:-}" ]; then skip=""; else skip=1; fi ;;
      installPhase) skip="${dontInstall:-}" ;;
      fixupPhase) skip="${dontFixup:-}" ;;
      *) skip="" ;;
    esac
    if [ -z "$skip" ]; then runPhase "$phase"; fi
  done
}

# jail.sh SHELL.NIX SCRIPT: build the shell, take its environment, run SCRIPT with only its closure.
set -eu
inputs="$(nix-build "$1" --attr inputDerivation --no-out-link)"
nix print-dev-env --offline --json --file "$1" > /tmp/environment.json
mkdir /tmp/work
python3 - > /tmp/variables <<'PY'
import json
variables = json.load(open("/tmp/environment.json"))["variables"]
for name, variable in variables.items():
    if variable["type"] == "exported" and "\n" not in variable["value"] and name not in ("HOME", "TMPDIR", "TMP", "TEMP", "TEMPDIR"):
        print("--env"); print(f"{name}={variable['value']}")
print("--env"); print("LANG=C.UTF-8")
PY
shell="$(python3 -c 'import json; print(json.load(open("/tmp/environment.json"))["variables"]["SHELL"]["value"])')"
mapfile -t variables < /tmp/variables
mapfile -t closure < <(nix-store --query --requisites "$inputs" | sed 's/^/--bindmount_ro=/')
exec nsjail --mode o --quiet --time_limit 120 "${closure[@]}" \
  --bindmount_ro /usr/bin/busybox:/bin/sh --bindmount_ro /usr/bin/busybox:/usr/bin/env \
  --mount none:/tmp:tmpfs:size=134217728 --bindmount /tmp/work:/work --cwd /work \
  --bindmount_ro /dev/null --bindmount_ro /dev/urandom \
  --rlimit_as inf --rlimit_fsize inf --rlimit_cpu inf --rlimit_nofile 1024 --rlimit_stack 64 \
  "${variables[@]}" --env HOME=/work --env TMPDIR=/tmp -- "$shell" -euc "$2"

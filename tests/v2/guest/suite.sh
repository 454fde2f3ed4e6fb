#!/bin/sh
# The guest's one job: run by its systemd unit as root, its words on the console. What it leaves
# goes as a tar onto a bare disk, so that no word of a kernel or a test can be taken for it.
set -eu
results=/run/results
mkdir -p "$results"
say() { echo "[$(cut -d' ' -f1 /proc/uptime) s] $*"; }

leave() {
    journalctl --boot --no-pager >"$results/journal.log" || true
    tar -cf /dev/disk/by-id/virtio-results -C "$results" .
    sync
}
trap leave EXIT

# to where it can be written: tools leave their own files beside the tests
cp -a /source /var/tmp/checkout
cd /var/tmp/checkout
packages=/usr/local/lib/python3.11/dist-packages
export PATH="$packages/bin:$PATH"
export CI=1                                   # here a skipped test is a failure

say "the guest is up: $(uname -r)"
docker load --quiet --input /images/images.tar
say "images are loaded"
for folder in /var/tmp/sandstream-test-sandbox /var/tmp/sandstream-test-worker/nix; do
    mkdir -p "$folder"
    cp -a /images/store "$folder/"
done
if [ -f deploy/apparmor/sandstream ]; then
    apparmor_parser --replace deploy/apparmor/sandstream
fi
say "ready for the suite"

set +e
{
    # shellcheck disable=SC2046 - one argument on each line
    IFS='
'
    python3 -m pytest -p tests.v2.guest.plugin -p no:cacheprovider --timeout 1800 \
        --junitxml="$results/junit.xml" --durations=10 $(cat .test-v2-arguments)
    echo $? >"$results/exit-code"
} 2>&1 | tee "$results/pytest.log"
say "the suite is over"

# Nix, Python, nsjail and a reaper: what every other image stands on.
# ROOT is debian:testing-slim, or a debootstrap of testing where no image can be pulled.
ARG ROOT
FROM ${ROOT} AS full
LABEL sandstream.stage=full
ARG PACKAGES
ARG NIX_AT_LEAST
# The mirror's index of testing can be past its date where the mirror is a snapshot: the
# signature is still checked.
RUN apt-get -o Acquire::Check-Valid-Until=false update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ${PACKAGES}
RUN version="$(dpkg-query --show --showformat '${source:Upstream-Version}' nix-bin)" \
 && { dpkg --compare-versions "$version" ge "${NIX_AT_LEAST}" \
      || { echo "nix-bin $version is older than ${NIX_AT_LEAST}: it misses CVE-2026-39860's fix" >&2; exit 1; }; }
# tini-static left Debian's package after trixie. It has to be static: the jail that it reaps
# in mounts nothing but a Nix closure.
RUN mkdir /tmp/tini && cd /tmp/tini \
 && for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do \
      if [ -f "$list" ]; then sed -i 's/\btesting\b/trixie/g' "$list"; fi; done \
 && apt-get -o Acquire::Check-Valid-Until=false update \
 && apt-get download tini && dpkg-deb -x tini_*.deb . \
 && install -m 755 usr/bin/tini-static /usr/bin/tini-static \
 && ln -s tini-static /usr/bin/tini && tini --version && rm -rf /tmp/tini
COPY nsjail/ /opt/nsjail/
COPY nix.conf /etc/nix/nix.conf
# No file of ours needs set-user-id, so none has it.
RUN ln -s /opt/nsjail/nsjail/bin/nsjail /usr/local/bin/nsjail && nsjail --help >/dev/null 2>&1 \
 && python3 -c 'import ctypes, sqlite3, json, ssl' \
 && echo 'store:x:30000:30000:owner of the store:/tmp/home:/bin/sh' >> /etc/passwd \
 && echo 'store:x:30000:' >> /etc/group \
 && mkdir -p /nix/store /nix/var/nix /channel /opt/sandstream \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/doc /usr/share/man \
      /usr/share/info /usr/share/locale /usr/share/bug /usr/share/lintian /tmp/*
# One layer: what was deleted above is not carried along.
FROM scratch
COPY --from=full / /
ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 NIX_PATH=nixpkgs=/channel

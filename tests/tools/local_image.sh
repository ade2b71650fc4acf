#!/usr/bin/env bash
# Exercise the Dockerfile without a registry (root; buildah with vfs and chroot isolation; debootstrap).
#   local_image.sh base NAME [SUITE]     make a stand-in for the runtime base image called NAME (no s6, no bashio)
#   local_image.sh rust NAME [SUITE]     make a stand-in for the Rust builder image called NAME from this machine's toolchain
#   local_image.sh build DIR TAG [ARG..] build DIR/Dockerfile with BUILD_VERSION and BUILD_ARCH as the Supervisor would
#   local_image.sh run TAG DATA [CMD..]  start TAG: own PID, mount and UTS namespaces, host network, DATA bound to /data,
#                                        the image's environment and entry point; forwards SIGTERM, returns its exit code
# needs: apt-get install buildah debootstrap jq        cache: $LOCAL_IMAGE_CACHE (default target/local-image)
set -euo pipefail
B="buildah --storage-driver vfs"; CA=/etc/ssl/certs/ca-certificates.crt; W=${LOCAL_IMAGE_CACHE:-$(dirname "$(readlink -f "$0")")/../../target/local-image}
mkdir -p "$W"; W=$(readlink -f "$W")
rootfs() { # suite -> tar with what base-debian has, minus s6/bashio/tempio
  [[ -f $W/$1.tar ]] && return
  debootstrap --variant=minbase --include=bash,jq,tzdata,curl,ca-certificates,xz-utils "$1" "$W/$1" >"$W/$1.log" 2>&1
  rm -rf "$W/$1"/var/cache/apt/archives/*.deb "$W/$1"/var/lib/apt/lists/*
  tar -C "$W/$1" -cf "$W/$1.tar" .; rm -rf "${W:?}/$1"
}
mk() { # name suite -> working container with the rootfs unpacked
  rootfs "$2"; local c m; c=$($B from scratch); m=$($B mount "$c"); tar -C "$m" -xf "$W/$2.tar"
  echo "$c $m"
}
# shellcheck disable=SC2016,SC2154
case ${1:-} in
base) read -r c m < <(mk "$2" "${3:-trixie}")
  $B config --env LANG=C.UTF-8 --entrypoint '["/init"]' --label io.hass.type=base "$c"
  $B commit -q --format docker --rm "$c" "$2" ;;
rust) read -r c m < <(mk "$2" "${3:-trixie}")
  $B run --isolation chroot "$c" -- sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null && rm -rf /var/lib/apt/lists/*'
  t=$(dirname "$(dirname "$(readlink -f "$(rustup which cargo)")")")
  mkdir -p "$m/usr/local/rustup/toolchains/stable" "$m/usr/local/cargo/bin"
  tar -C "$t" --exclude=share -cf - . | tar -C "$m/usr/local/rustup/toolchains/stable" -xf -
  for b in cargo rustc rustdoc; do ln -s "../../rustup/toolchains/stable/bin/$b" "$m/usr/local/cargo/bin/$b"; done
  $B config --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env CARGO_HOME=/usr/local/cargo "$c"
  $B commit -q --format docker --rm "$c" "$2" ;;
build) d=$2 tag=$3; shift 3
  v=$(sed -n 's/^version: *"\{0,1\}\([^"]*\)"\{0,1\}.*/\1/p' "$d/config.yaml" | head -1)
  # the host's CA file is mounted, so that cargo inside the build trusts what the host trusts
  exec $B bud --format docker --isolation chroot --pull-never -v $CA:$CA:ro \
    --build-arg "BUILD_VERSION=$v" --build-arg BUILD_ARCH=amd64 "$@" -t "$tag" "$d" ;;
run) tag=$2 data=$(readlink -f "$3"); shift 3
  c=$($B from --pull-never "$tag"); m=$($B mount "$c"); trap '$B rm "$c" >/dev/null' EXIT
  mapfile -t env < <($B inspect --type image "$tag" | jq -r '.Docker.config.Env[]?')
  mapfile -t cmd < <($B inspect --type image "$tag" | jq -r '(.Docker.config.Entrypoint // [])[], (.Docker.config.Cmd // [])[]')
  (( $# )) && cmd=("$@")
  mkdir -p "$m/data" "$m/proc" "$m/dev" "$m/sys" "$m/tmp"
  # PID 1 of the namespace is this small shell: it forwards SIGTERM and returns the exit code, as Docker's init does (init: true)
  env -i "${env[@]}" TZ="${TZ:-Europe/Berlin}" SUPERVISOR_TOKEN="${SUPERVISOR_TOKEN:-0000}" HASSIO_TOKEN="${SUPERVISOR_TOKEN:-0000}" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOSTS="${EXTRA_HOSTS:-}" M="$m" DATA="$data" \
    unshare --mount --pid --uts --fork --kill-child bash -c '
      mount --bind "$DATA" "$M/data"; mount -t proc proc "$M/proc"; mount --rbind /dev "$M/dev"; mount --bind /sys "$M/sys"
      cp -L /etc/hosts "$M/etc/hosts" 2>/dev/null; cp -L /etc/resolv.conf "$M/etc/resolv.conf" 2>/dev/null; printf "%b\n" "$HOSTS" >> "$M/etc/hosts"
      m=$M; unset M DATA HOSTS SHLVL; chroot "$m" "$@" & p=$!
      trap "kill -TERM $p" TERM INT; while :; do wait $p; r=$?; kill -0 $p 2>/dev/null || break; done; exit $r' sh "${cmd[@]}" &
  u=$!; trap 'k=$(ps -o pid= --ppid $u | tr -d " "); [[ -n $k ]] && kill -TERM $k' TERM INT
  r=0; while :; do wait $u && r=0 || r=$?; kill -0 $u 2>/dev/null || break; done
  exit $r ;;
*) sed -n 2,8p "$0"; exit 2 ;;
esac

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced after common.sh: Debian packages without installing them. Set apt_home (a folder of its own) first.
#   apt_begin SUITE            lists of SUITE, from the archive that the system's own apt uses, with its signature checks
#   private_apt TOOL ARGUMENT...
#   apt_download PACKAGE...    into $apt_home/debs

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# apt with sources, lists and status of its own: needs no root and leaves the system's alone.
private_apt() {
  local tool=$1
  shift
  "$tool" -q \
    -o Dir::Etc::sourcelist="$apt_home/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$apt_home/lists" -o Dir::State::status="$apt_home/status" \
    -o Dir::Cache="$apt_home/cache" -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any "$@"
}

# The archive that the system's own apt uses. Its lists may be missing (container images drop them): then apt reads
# the system's sources into private lists first.
archive_uri() {
  local query=(indextargets --format "\$(REPO_URI)" "Created-By: Packages" "Codename: bookworm") uri
  uri=$(apt-get "${query[@]}" | sed -n 1p)
  if [ -z "$uri" ]; then
    local lists=(-o Dir::State::lists="$apt_home/system-lists" -o Dir::Cache="$apt_home/cache" -o APT::Sandbox::User=root)
    apt-get -q "${lists[@]}" update >>"$apt_home/log" 2>&1 || true
    uri=$(apt-get "${lists[@]}" "${query[@]}" | sed -n 1p)
  fi
  [ -n "$uri" ] || die "the system's apt names no Debian 12 (bookworm) archive; check /etc/apt and the network"
  echo "$uri"
}

apt_begin() {
  local suite=$1 uri
  rm -rf "$apt_home"
  mkdir -p "$apt_home"/{debs,lists/partial,system-lists/partial,cache/archives/partial}
  uri=$(archive_uri)
  [ -r "$keyring" ] || die "$keyring is missing; install debian-archive-keyring"
  echo "deb [arch=amd64 signed-by=$keyring] $uri $suite main" >"$apt_home/sources.list"
  : >"$apt_home/status"
  private_apt apt-get update >>"$apt_home/log" 2>&1 ||
    die "cannot read $suite from $uri: $(grep -m1 '^[EW]:' "$apt_home/log")"
}

apt_download() {
  echo "${0##*/}: downloading $*" >&2
  (cd "$apt_home/debs" && private_apt apt-get download "$@") >>"$apt_home/log" 2>&1 ||
    die "download failed: $(grep -m1 '^E:' "$apt_home/log")"
}

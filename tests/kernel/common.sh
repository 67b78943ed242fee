# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the scripts of this folder: where the cache is, how errors are said.

repo=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
here=$repo/tests/kernel
cache=${LOCKSTEP_CACHE:-$repo/.cache}
mkdir -p "$cache"
cache=$(realpath "$cache")

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# bootstrap_debian PACKAGES DIR: a minimal Debian 12 with these packages (a,b,...), from where this machine's apt gets
# it; where apt does not say, from debootstrap's own default.
bootstrap_debian() {
  local uri
  uri=$(apt-get indextargets --format "\$(REPO_URI)" "Created-By: Packages" "Codename: bookworm" | sed -n 1p)
  debootstrap --variant=minbase --include="$1" bookworm "$2" ${uri:+"$uri"}
}

# Serialises those who fill the same part of the cache. The lock lives until the calling script ends.
lock_cache() {
  exec {cache_lock}>"$cache/$1.lock"
  flock "$cache_lock"
}

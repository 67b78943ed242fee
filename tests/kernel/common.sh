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

# Serialises those who fill the same part of the cache. The lock lives until the calling script ends.
lock_cache() {
  exec {cache_lock}>"$cache/$1.lock"
  flock "$cache_lock"
}

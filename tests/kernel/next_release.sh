#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# next_release.sh VERSION: the driver as the next release may have it: the same sources, images of the next version.
# Prints the .ko, built against that kernel.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

[ $# -eq 1 ] || die "usage: next_release.sh VERSION"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp -R "$repo/kmod/." "$tree"
header=$(grep -ls '^#define LSM_IMAGE_VERSION\b' "$tree"/model/*.h) || die "kmod/model does not say LSM_IMAGE_VERSION as it did"
own=$(sed -n 's/^#define LSM_IMAGE_VERSION\t*\([0-9]*\)u$/\1/p' "$header")
[ -n "$own" ] || die "kmod/model does not say LSM_IMAGE_VERSION as it did"
sed -i "s/^\(#define LSM_IMAGE_VERSION\t*\)${own}u$/\1$((own + 1))u/" "$header"
"$here/build_module.sh" "$1" "$tree"

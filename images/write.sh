#!/bin/sh
# Writes the image of each sidecar, its provenance and its bill of materials to a directory, and checks them.
# Usage: write.sh DIRECTORY-OF-THE-PROGRAMS DIRECTORY
set -eu
cd "$(dirname "$0")/.."
programs=$(cd "$1" && pwd -P)
mkdir -p "$2"
to=$(cd "$2" && pwd -P)
# A home of its own: the checkout may belong to somebody whom bottle does not trust with its images.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export BOTTLE_HOME="$home" BOTTLE_LIBEXEC="$programs"
sidecars=
for recipe in images/*/image.yaml; do sidecars="$sidecars $(basename "$(dirname "$recipe")")"; done
# shellcheck disable=SC2086 # names of directories, each a word
set -- $sidecars
"$programs/bottle" images build "$@"
"$programs/bottle" images verify "$@"
for name in "$@"; do
    "$programs/bottle" images export "$name" --output "$to/$name.tar"
    digest=$("$programs/bottle" images build "$name" | sed 's/.*  sha256:\([0-9a-f]*\)  .*/\1/')
    cp "$home/images/archives/sha256-$digest.provenance.json" "$to/$name.provenance.json"
    cp "$home/images/archives/sha256-$digest.bottle-$name.cdx.json" "$to/$name.cdx.json"
done

#!/bin/sh
# The toolchain, and the digests of the programs in a directory and of the images that they become: what `images/digests` holds.
# Usage: digests.sh DIRECTORY-OF-THE-PROGRAMS
set -eu
cd "$(dirname "$0")/.."
programs=$(cd "$1" && pwd -P)
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
echo "# The images that these sources give with this toolchain: written by \`make images-digests\`, compared by \`make images-check\`."
images/toolchain.sh
case $(rustc --print host-tuple) in x86_64-*) architecture=amd64 ;; *) architecture=arm64 ;; esac
env -u SOURCE_DATE_EPOCH BOTTLE_HOME="$home" BOTTLE_LIBEXEC="$programs" "$programs/bottle" images build >"$home/built"
while read -r name digest _; do
    echo "image $name $architecture $digest"
done <"$home/built"

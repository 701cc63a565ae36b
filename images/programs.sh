#!/bin/sh
# Builds the release programs so that their bytes do not depend on the directory, the user or the home of whoever builds: the paths of
# this machine, which compilers write into programs, are replaced by fixed ones. What still counts is the source, Cargo.lock, the Rust
# toolchain, the C compiler, the linker and the libc. Arguments are handed to cargo.
#
# The programs are always named together: another selection would unify the features of their dependencies differently.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd -P)
target=$(rustc --print host-tuple)
home=${CARGO_HOME:-$HOME/.cargo}
# Where dependencies are unpacked: cargo's own place, or a directory of vendored ones.
deps=${BOTTLE_VENDORED:-}
if [ -z "$deps" ]; then
    # The last part is named by cargo after the registry; it is there once something was fetched from it.
    "${CARGO:-cargo}" fetch --locked --quiet
    deps=$(find "$home/registry/src" -mindepth 1 -maxdepth 1 -type d | sort | head -n 1)
fi
rust() { printf '"--remap-path-prefix=%s=%s"' "$1" "$2"; }
# The last prefix that fits counts.
flags="$(rust "$root" /bottle), $(rust "$(rustc --print sysroot)" /rust), $(rust "$home" /cargo), $(rust "$deps" /deps)"
flags="$flags, $(rust "${CARGO_TARGET_DIR:-$root/target}" /target)"
# Quotes keep a space in a path together; the `cc` crate then reads the flags as a shell would.
export CC_SHELL_ESCAPED_FLAGS=1
# The day on which C code believes to be compiled (SOURCE_DATE_EPOCH of reproducible-builds.org): the allocator names it in its version.
export SOURCE_DATE_EPOCH=315532800
export CFLAGS="'-ffile-prefix-map=$home=/cargo' '-ffile-prefix-map=$deps=/deps' '-ffile-prefix-map=${CARGO_TARGET_DIR:-$root/target}=/target'"
# Each sidecar is a package `bottle-NAME` with the recipe of its image.
for recipe in images/*/image.yaml; do
    set -- -p "bottle-$(basename "$(dirname "$recipe")")" "$@"
done
exec "${CARGO:-cargo}" build --locked --release --config "target.$target.rustflags=[$flags]" -p bottle -p bottle-demo-origin -p bottle-origin "$@"

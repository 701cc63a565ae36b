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
    # The last part is the name of the registry's index, the same on every machine; it is made by cargo if it is missing.
    deps=$home/registry/src/index.crates.io-1949cf8c6b5b557f
fi
rust() { printf '"--remap-path-prefix=%s=%s"' "$1" "$2"; }
# The last prefix that fits counts.
flags="$(rust "$root" /bottle), $(rust "$(rustc --print sysroot)" /rust), $(rust "$home" /cargo), $(rust "$deps" /deps)"
flags="$flags, $(rust "${CARGO_TARGET_DIR:-$root/target}" /target)"
# Quotes keep a space in a path together; the `cc` crate then reads the flags as a shell would.
export CC_SHELL_ESCAPED_FLAGS=1
export CFLAGS="'-ffile-prefix-map=$home=/cargo' '-ffile-prefix-map=$deps=/deps' '-ffile-prefix-map=${CARGO_TARGET_DIR:-$root/target}=/target'"
exec "${CARGO:-cargo}" build --locked --release --config "target.$target.rustflags=[$flags]" \
    -p bottle -p bottle-egress -p bottle-pipelock -p bottle-git-gate -p bottle-origin "$@"

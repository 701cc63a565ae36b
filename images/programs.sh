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
# A profile of the proxies at work says what is to be fast and what small (rustc's book, "Profile-guided Optimization"). It is made by
# `make profile`, with programs that note in the directory BOTTLE_PROFILE what they did.
if [ -n "${BOTTLE_PROFILE:-}" ]; then
    mkdir -p "$BOTTLE_PROFILE"
    # Noting keeps functions that nothing calls, and a static libc lacks some that these name: here they are, and lead nowhere.
    for name in cfgetispeed cfgetospeed cfsetispeed cfsetospeed cfsetspeed; do
        printf '.globl no_%s\nno_%s: .byte 0\n.symver no_%s, %s@GLIBC_2.2.5\n' "$name" "$name" "$name" "$name"
    done | cc -c -x assembler -o "$BOTTLE_PROFILE/lacking.o" -
    flags="$flags, \"-Cprofile-generate=$BOTTLE_PROFILE\", \"-Clink-arg=$BOTTLE_PROFILE/lacking.o\""
else
    # Named by what is in it, and written once: cargo compiles all of it again for another name, and for a newer time of the file.
    profile=${CARGO_TARGET_DIR:-$root/target}/$(sha256sum <images/proxies.profdata.gz | cut -c 1-16).profdata
    if [ ! -e "$profile" ]; then
        mkdir -p "${profile%/*}"
        gzip -dc images/proxies.profdata.gz >"$profile.$$"
        mv "$profile.$$" "$profile"
    fi
    # A function that has changed since is compiled without it.
    flags="$flags, \"-Cprofile-use=$profile\", \"-Cllvm-args=-no-pgo-warn-mismatch\""
fi
# Quotes keep a space in a path together; the `cc` crate then reads the flags as a shell would.
export CC_SHELL_ESCAPED_FLAGS=1
# The day on which C code believes to be compiled (SOURCE_DATE_EPOCH of reproducible-builds.org): the allocator names it in its version.
export SOURCE_DATE_EPOCH=315532800
export CFLAGS="'-ffile-prefix-map=$home=/cargo' '-ffile-prefix-map=$deps=/deps' '-ffile-prefix-map=${CARGO_TARGET_DIR:-$root/target}=/target'"
# Each sidecar is a package `bottle-NAME` with the recipe of its image.
for recipe in images/*/image.yaml; do
    set -- -p "bottle-$(basename "$(dirname "$recipe")")" "$@"
done
exec "${CARGO:-cargo}" build --locked --release --config "target.$target.rustflags=[$flags]" -p bottle -p bottle-origin "$@"

#!/bin/sh
# What, beside the sources and Cargo.lock, decides about the bytes of a release program: a name and a value on each line. The static libc
# goes into the programs, so its own digest is told too.
set -eu
cd "$(dirname "$0")/.."
field() { rustc -vV | sed -n "s/^$1: //p"; }
libc=$("${CC:-cc}" -print-file-name=libc.a)
echo "target $(field host)"
echo "rustc $(field release) $(field commit-hash)"
echo "llvm $(field 'LLVM version')"
# Without the first word: it is the name that the compiler was called by.
echo "cc $("${CC:-cc}" --version | sed -n '1s/^[^ ]* //p')"
echo "ld $(ld --version | head -n 1)"
echo "libc $(ldd --version 2>&1 | head -n 1)"
echo "libc.a sha256:$(sha256sum "$libc" | cut -d ' ' -f 1)"

#!/usr/bin/env bash
# Builds the sidecars' programs and their images once more: in another directory, on another file system (tmpfs), with other homes, another
# user where root runs this, and another umask, time zone and language; and compares all of it, byte for byte, with what `make build` made.
# Then compares with `images/digests`, if it was written with this toolchain.
#
# `bottle` itself is not built again: it is in no image. Its dependencies are those of the sidecars, with the same flags, and all packages
# are still selected together, so that features are the same. REBUILD= (empty) leaves out the second build and compares digests only.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(cd "${1:?usage: check.sh DIRECTORY-OF-THE-PROGRAMS}" && pwd -P)
sidecars=(bottle-egress bottle-pipelock bottle-git-gate)

other=$(mktemp -d /dev/shm/bottle-images-check.XXXXXX)
trap 'rm -rf "$other"' EXIT
[ "$(stat -f -c %T "$other")" = tmpfs ] || { echo "images-check: /dev/shm is no tmpfs" >&2; exit 1; }

if [ -n "${REBUILD-1}" ]; then
    mkdir -p "$other/elsewhere/source" "$other/cargo/registry" "$other/home" "$other/rust"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$other/elsewhere/source"
    cp -r "${CARGO_HOME:-$HOME/.cargo}/registry/cache" "${CARGO_HOME:-$HOME/.cargo}/registry/index" "$other/cargo/registry/"
    as=()
    if [ "$(id -u)" = 0 ]; then
        chown -R 4711:4711 "$other"
        as=(setpriv --reuid 4711 --regid 4711 --clear-groups)
    else
        echo "images-check: not root, so the second build has the same user"
    fi
    # Another user cannot reach a toolchain in root's home: it gets a mount of its own, which is another place as well.
    toolchain=$(rustc --print sysroot)
    unshare --mount $([ "$(id -u)" = 0 ] || echo --user --map-current-user --keep-caps) sh -euc '
        mount --bind "$1" "$2"
        shift 2
        exec "$@"
    ' sh "$toolchain" "$other/rust" "${as[@]}" env -i \
        PATH="$other/rust/bin:/usr/bin:/bin" HOME="$other/home" CARGO_HOME="$other/cargo" CARGO_NET_OFFLINE=true \
        TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 USER=somebody SOURCE_DATE_EPOCH=86400 \
        sh -c 'umask 077; cd "$1"; shift; exec images/programs.sh "$@"' sh "$other/elsewhere/source" \
        "${sidecars[@]/#/--bin=}"
    again="$other/elsewhere/source/target/$(rustc --print host-tuple)/release"
    for program in "${sidecars[@]}"; do
        cmp "$programs/$program" "$again/$program" || { echo "images-check: $program is not the same" >&2; exit 1; }
        echo "$program: the same in both directories: sha256:$(sha256sum "$programs/$program" | cut -d ' ' -f 1)"
    done
    cp "$programs/bottle" "$again/"
    images/digests.sh "$again" >"$other/again"
fi

images/digests.sh "$programs" >"$other/here"
if [ -n "${REBUILD-1}" ]; then
    diff "$other/here" "$other/again"
    echo "the images are the same"
fi
toolchain() { grep -E '^(target|rustc|llvm|cc|ld|libc|libc\.a) ' "$1" || true; }
if [ "$(toolchain "$other/here")" = "$(toolchain images/digests)" ]; then
    diff images/digests "$other/here" || { echo "images-check: not what images/digests says; \`make images-digests\` writes it anew" >&2; exit 1; }
    echo "the images are those of images/digests"
else
    echo "images-check: images/digests was written with another toolchain, and does not count here:"
    diff <(toolchain images/digests) <(toolchain "$other/here") || true
fi

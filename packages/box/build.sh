#!/bin/sh
# sh packages/box/build.sh [OUT_DIR]
# Builds the box for x64 and arm64 from `c`, static with musl: apt-get install musl-tools gcc-aarch64-linux-gnu, and for
# arm64 its musl: dpkg --add-architecture arm64 && apt-get update && apt-get install musl-dev:arm64.
# With OUT_DIR: only for the machine's own architecture, into that folder.
set -eu
cd "$(dirname "$0")"

flags='-std=c11 -Os -static -Wall -Wextra -Werror -Wno-missing-field-initializers -ffunction-sections -Wl,--gc-sections -s'

main() {
  if [ $# -gt 0 ]; then
    "build_$(own)" "$1"
  else
    mkdir -p bin
    build_x64 bin
    build_arm64 bin
    cat build.sh c/* | sha256sum | cut -d' ' -f1 >bin/source-sha256
  fi
}

own() {
  case "$(uname -m)" in
    x86_64) echo x64 ;;
    aarch64) echo arm64 ;;
    *) echo "there is no box for $(uname -m)" >&2; exit 1 ;;
  esac
}

build_x64() { with_musl x86_64 "$1/box-linux-x64"; }
build_arm64() { with_musl aarch64 "$1/box-linux-arm64"; }

# Debian's musl-gcc knows its own machine only; this is what it does, for either.
with_musl() {
  gcc="$1-linux-gnu-gcc"
  lib="/usr/lib/$1-linux-musl"
  # shellcheck disable=SC2086
  "$gcc" $flags -nostdinc -isystem "$("$gcc" -print-file-name=include)" -isystem "/usr/include/$1-linux-musl" \
    -nostdlib -no-pie -o "$2" "$lib/crt1.o" "$lib/crti.o" c/*.c "$lib/libc.a" "$("$gcc" -print-libgcc-file-name)" "$lib/crtn.o"
}

main "$@"

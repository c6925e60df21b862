#!/bin/sh
# Builds points, a static position-independent executable without a libc. Needs clang, binutils and, for arm64, lld.
set -e
cd "$(dirname "$0")"
clang -target x86_64-linux-gnu -nostdlib -static-pie -Wl,--no-dynamic-linker,-z,noexecstack,--build-id=none,-s -o points points.S
clang -target aarch64-linux-gnu -fuse-ld=lld -nostdlib -static-pie -Wl,--no-dynamic-linker,-z,noexecstack,-z,separate-loadable-segments,-z,max-page-size=4096,--build-id=none,-s -o points.arm64 points.S

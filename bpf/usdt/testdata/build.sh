#!/bin/sh
# Builds points, a static position-independent executable without a libc. Needs clang and binutils.
set -e
cd "$(dirname "$0")"
clang -target x86_64-linux-gnu -nostdlib -static-pie -Wl,--no-dynamic-linker,-z,noexecstack,--build-id=none,-s -o points points.S

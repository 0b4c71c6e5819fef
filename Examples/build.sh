#!/usr/bin/env bash
# Builds the objects beside the sources. vmlinux.h is made from the running kernel's types.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
skep=${SKEP:-swift run -c release --package-path .. skep}
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
$skep btf dump /sys/kernel/btf/vmlinux format c >"$headers/vmlinux.h"
for source in *.bpf.c; do
  clang -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -fdebug-compilation-dir=. \
    -fdebug-prefix-map="$headers=." -idirafter "/usr/include/$(uname -m)-linux-gnu" -I"$headers" \
    -c "$source" -o "${source%.c}.o"
  llvm-objcopy --strip-debug "${source%.c}.o"
done

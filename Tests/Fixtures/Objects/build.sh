#!/bin/sh
# Builds the objects beside their sources. Any clang with the BPF target will do.
cd "$(dirname "$0")" || exit 1
for source in *.bpf.c; do
	clang --target=bpfel -O2 -g -mcpu=v3 -Wno-everything -fdebug-prefix-map="$PWD"=. -c "$source" -o "${source%.c}.o" &&
		llvm-strip -g "${source%.c}.o"
done

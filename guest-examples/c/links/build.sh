#!/bin/sh
# build.sh OUTPUT.wasm: compiles src/*.c with the first of clang and zig that can make WASI programs.
set -eu

makes_wasi() {
    echo 'int main(void) { return 0; }' | "$@" -x c - -o "$probe" 2>/dev/null
}

probe=$(mktemp)
trap 'rm -f "$probe"' EXIT
if makes_wasi clang --target=wasm32-wasi; then
    cc="clang --target=wasm32-wasi"
elif makes_wasi zig cc -target wasm32-wasi; then
    cc="zig cc -target wasm32-wasi"
elif makes_wasi python-zig cc -target wasm32-wasi; then
    cc="python-zig cc -target wasm32-wasi"
else
    echo "no C compiler for WASI: install one with:" >&2
    echo "  apt-get install --no-install-recommends clang lld wasi-libc libclang-rt-dev-wasm32" >&2
    echo "or, where there is no such package: pip install ziglang" >&2
    exit 127
fi

mkdir -p "$(dirname "$1")"
$cc -std=c17 -Os -Wall -Wextra -Wl,--strip-debug -o "$1" src/*.c

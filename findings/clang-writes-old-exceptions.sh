#!/usr/bin/env bash
# clang 22 with -fwasm-exceptions, and wasmtime: what is compiled today does not load.
#
# One would guess: exceptions have been part of the WebAssembly standard (3.0) since 2025, so clang 22, of 2026, writes them, and an
# engine with all of 3.0 loads the module.
# It is so: clang writes the encoding from before the standard (try, catch) unless told -mllvm -wasm-use-legacy-eh=false. wasmtime
# has exceptions on by default and refuses the old encoding. Binaryen's wasm-opt --translate-to-exnref mends a module that is built.
#
# Seen on 2026-11-30 with clang 22.1.8 (PyPI: ziglang 0.17.1), wasmtime 48.0.0 (PyPI), Binaryen 132 (npm: binaryen 132.0.0).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check ziglang==0.17.1 wasmtime==48.0.0
npm install --silent --no-fund --no-audit binaryen@132.0.0 >/dev/null
export ZIG_GLOBAL_CACHE_DIR="$folder/cache" ZIG_LOCAL_CACHE_DIR="$folder/cache"

# The least that C++ asks of its library, and the tag of its exceptions.
cat > tag.s <<'END'
  .globl __cpp_exception
  .tagtype __cpp_exception i32
__cpp_exception:
END
cat > half.cpp <<'END'
extern "C" {
void *__cxa_begin_catch(void *object) noexcept { return object; }
void __cxa_end_catch() {}
__attribute__((noinline)) int half(int number) {
  if (number % 2) __builtin_wasm_throw(0, nullptr);
  return number / 2;
}
int half_or_minus_one(int number) {
  try { return half(number); } catch (...) { return -1; }
}
}
END
cat > load.py <<'END'
import sys, wasmtime
for name in sys.argv[1:]:
    store = wasmtime.Store()
    try:
        module = wasmtime.Module.from_file(store.engine, name)
    except wasmtime.WasmtimeError as error:
        print(name, "is refused:", str(error).strip().splitlines()[-1].split("offset")[-1].split(":")[-1].strip())
        continue
    half = wasmtime.Instance(store, module, []).exports(store)["half_or_minus_one"]
    print(name, "loads: the halves of 8 and 7 are", half(store, 8), "and", half(store, 7))
END

build() {
    python/bin/python -m ziglang c++ -target wasm32-freestanding -mcpu=generic+exception_handling -fwasm-exceptions -O1 \
        -nostdlib -Wl,--no-entry -Wl,--export=half_or_minus_one -Wno-unused-command-line-argument tag.s half.cpp "$@"
}
python/bin/python -m ziglang c++ --version | head -n 1
build -o default.wasm
build -mllvm -wasm-use-legacy-eh=false -o told.wasm
node_modules/.bin/wasm-opt --enable-exception-handling --enable-reference-types --enable-multivalue --translate-to-exnref \
    default.wasm -o translated.wasm

python/bin/python load.py default.wasm told.wasm translated.wasm | tee seen
diff seen - <<'END'
default.wasm is refused: legacy_exceptions feature required for try instruction
told.wasm loads: the halves of 8 and 7 are 4 and -1
translated.wasm loads: the halves of 8 and 7 are 4 and -1
END

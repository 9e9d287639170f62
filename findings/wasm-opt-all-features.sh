#!/usr/bin/env bash
# Binaryen's wasm-opt -all: a module that uses nothing new comes out in an encoding that engines do not read.
#
# One would guess: -all (--all-features) only says which features the input may use, as in many build recipes; a module that uses none
# of them comes out as plain as it went in.
# It is so: the writer makes use of what is enabled. Imports from one module are written in the compact form of a proposal that is
# not finished. wasmtime and Node refuse such a module as malformed, though the source has nothing but three functions.
# --disable-compact-imports after -all mends it; features by name (--enable-…) are the better habit.
#
# Seen on 2026-11-30 with Binaryen 132 (npm: binaryen 132.0.0), wasmtime 48.0.0 (PyPI) and Node 20 (npm: node 20.19.5).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check wasmtime==48.0.0
npm install --silent --no-fund --no-audit binaryen@132.0.0 node@20.19.5 >/dev/null

cat > three.wat <<'END'
(module
  (import "env" "first" (func $first))
  (import "env" "second" (func $second))
  (import "env" "third" (func $third))
  (func (export "run") (call $first) (call $second) (call $third)))
END
cat > load.py <<'END'
import sys, wasmtime
try:
    wasmtime.Module.from_file(wasmtime.Engine(), sys.argv[1])
    print("wasmtime: loads")
except wasmtime.WasmtimeError as error:
    print("wasmtime: refused,", "compact imports" if "compact imports" in str(error) else error)
END
cat > load.js <<'END'
WebAssembly.compile(require("fs").readFileSync(process.argv[2])).then(
  () => console.log("Node: loads"),
  (error) => console.log("Node: refused,", error.message.includes("import kind") ? "unknown import kind" : error.message),
);
END

for flags in "-O2" "-O2 -all" "-O2 -all --disable-compact-imports"; do
    echo "wasm-opt $flags"
    # Unquoted: each is a list of flags.
    node_modules/.bin/wasm-opt $flags three.wat -o three.wasm
    python/bin/python load.py three.wasm
    node_modules/.bin/node load.js three.wasm
done | tee seen
diff seen - <<'END'
wasm-opt -O2
wasmtime: loads
Node: loads
wasm-opt -O2 -all
wasmtime: refused, compact imports
Node: refused, unknown import kind
wasm-opt -O2 -all --disable-compact-imports
wasmtime: loads
Node: loads
END

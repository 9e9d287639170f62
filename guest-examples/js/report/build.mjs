// node build.mjs OUTPUT.wasm: bundles src/index.js with all it imports, then makes a WASI HTTP component of it.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';

const output = process.argv[2];
const bundle = 'build/bundle.js';

// The one export that a fetch listener needs. 0.2.10 is the version that the JavaScript engine was built for.
const witWorld = `
  package local:app;

  world app {
    export wasi:http/incoming-handler@0.2.10;
  }

  package wasi:http@0.2.10 {
    interface types {
      resource incoming-request;
      resource response-outparam;
    }
    interface incoming-handler {
      use types.{incoming-request, response-outparam};
      handle: func(request: incoming-request, response-out: response-outparam);
    }
  }
`;

await build({ entryPoints: ['src/index.js'], bundle: true, format: 'esm', outfile: bundle, logLevel: 'warning' });
const { component } = await componentize({ sourcePath: bundle, witWorld, worldName: 'app' });
await mkdir(dirname(output), { recursive: true });
await writeFile(output, component);

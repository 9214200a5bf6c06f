/**
 * `npm run test:tensorflow`: tfjs-core's own specs on the addon, as tfjs-node's run_tests.js selects them.
 *
 * Both come compiled in the npm packages, but the specs as ES modules without file endings: a hook turns them into
 * CommonJS on their way in, and lets every package share the one tfjs-core that they test. Exit status: 0 where the
 * known specs fail, and no others.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import Module from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';
import util from 'node:util';

import ts from 'typescript5';
import { setEnvironment } from 'alignbook/dist/environment';
import { plural } from 'alignbook/dist/errors';

import { script } from './command';

/** Specs that fail with TensorFlow 2.21, and why. */
const known = new Map([
  ['round test-tensorflow {} int32', 'TensorFlow gives zeros for Round of int32; the library rounds no integers'],
]);

interface Spec {
  readonly fullName: string;
  readonly status: 'passed' | 'failed' | 'pending' | 'excluded';
  readonly failedExpectations: readonly { readonly message: string }[];
}

/** Node's own loader of modules; its types leave out what a hook needs. */
interface Loader {
  _resolveFilename(request: string, ...rest: unknown[]): string;
  _extensions: Record<string, (module: { _compile(code: string, path: string): void }, path: string) => void>;
}

const core = join(dirname(require.resolve('@tensorflow/tfjs-core/package.json')), 'dist');

function loadAsCommonJs(): void {
  const loader = Module as unknown as Loader;
  const resolve = loader._resolveFilename;
  loader._resolveFilename = function (request, ...rest) {
    return request === '@tensorflow/tfjs-core' ? join(core, 'index.js') : resolve.call(this, request, ...rest);
  };
  const load = loader._extensions['.js']!;
  loader._extensions['.js'] = (module, path) => {
    if (!path.startsWith(core + sep) || path.includes('.node.')) return load(module, path);
    const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.CommonJS,
        target: ts.ScriptTarget.ES5,
        downlevelIteration: true,
        esModuleInterop: true,
      },
    }); // ES5 as tfjs-node: its classes extend these
    module._compile(outputText, path);
  };
}

const specs: Spec[] = [];

function summary(): number {
  const names = (status: Spec['status']) =>
    specs.filter((spec) => spec.status === status).map(({ fullName }) => fullName);
  const failed = names('failed');
  const excluded = names('excluded').length;
  console.log(
    `\n${plural(specs.length, 'spec')}, ${specs.length - excluded} selected: ${names('passed').length} passed, ` +
      `${failed.length} failed, ${names('pending').length} pending`,
  );
  for (const name of failed)
    console.log(`failed: ${name} (${known.has(name) ? `known: ${known.get(name)}` : 'not known'})`);
  const mended = [...known.keys()].filter((name) => !failed.includes(name));
  for (const name of mended) console.log(`known to fail, but did not: ${name}`);
  return specs.length > excluded && mended.length === 0 && failed.every((name) => known.has(name)) ? 0 : 1;
}

function main(): void {
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '3'; // specs provoke TensorFlow's errors on purpose
  setEnvironment();
  // As in lib/tf.ts, which cannot be used here: it would load another tfjs-core.
  Object.assign(util, {
    isArray: Array.isArray,
    isNullOrUndefined: (x: unknown) => x == null,
    isString: (x: unknown) => typeof x === 'string',
  });

  const empty = mkdtempSync(join(tmpdir(), 'specs-')); // run_tests.js also looks for specs below the working folder
  process.chdir(empty);
  process.once('exit', () => {
    rmSync(empty, { recursive: true, force: true });
    process.exitCode = summary(); // jasmine ends the process with its own status
  });
  loadAsCommonJs();
  require('@tensorflow/tfjs-node-gpu/dist/run_tests.js');
  (globalThis as unknown as { jasmine: { getEnv(): { addReporter(reporter: object): void } } }).jasmine
    .getEnv()
    .addReporter({ specDone: (spec: Spec) => specs.push(spec) });
}

void script({
  name: 'test:tensorflow',
  summary: "Run tfjs-core's own specs on the addon, as tfjs-node's run_tests.js selects them.",
  settings: {},
  status: '0 the known specs fail and no others, 1 not so, 2 usage',
  run: main,
});

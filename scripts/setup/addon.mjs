// @ts-check
/**
 * tfjs-node's N-API addon, with this project's own operations of TensorFlow in it (`operations/`), compiled against the
 * TensorFlow that `tensorflow.mjs` unpacked.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

import { compiler } from './compiler.mjs';
import { digest } from './digest.mjs';
import { paths, root } from './paths.mjs';
import { addonFlags, platform } from './platform.mjs';
import { run, SetupError } from './run.mjs';
import { replaceFile } from './steps.mjs';
import { build, libraries, version } from './tensorflow.mjs';

const folder = dirname(paths.addon);
const record = join(folder, 'build.json'); // lib/tf.ts reads it
const operations = fileURLToPath(new URL('operations', import.meta.url));
const logLevel = fileURLToPath(new URL('log_level.cc', import.meta.url));
const logLevelLibrary = 'libtfjs_log_level.so';
/** TensorFlow's early lines are about instructions of x86 processors, and Macs link libraries in another way. */
const needsLogLevel = process.platform === 'linux';

/** @type {import('./steps.mjs').Step} */
export const addon = {
  name: 'addon',
  megabytes: 400,
  inputs: () => ({
    build: build(),
    version,
    sources: [join(paths.binding, 'package.json'), ...filesOf(operations, ''), logLevel].map((file) => digest(file)),
    abi: process.versions.modules,
    napi: process.versions.napi,
    root,
  }),
  present: () => existsSync(paths.addon) && existsSync(record),
  made: () => [folder],
  version: () => `for Node's ABI ${process.versions.modules}`,
  async run(progress) {
    mkdirSync(folder, { recursive: true });
    const temporary = `${paths.addon}.tmp`;
    const { program, args, env } = await compiler(progress);
    progress(`compiling with ${program}`);
    if (needsLogLevel) await run(program, [...args, ...logLevelFlags()], { env });
    await run(program, [...args, ...flags(), '-o', temporary], { env });
    await load(temporary);
    renameSync(temporary, paths.addon);
    replaceFile(record, `${JSON.stringify({ build: build(), tensorflow: version, operations: ownOperations() })}\n`);
  },
};

/** The names of this project's operations in the addon: those that its sources register for this processor. */
const ownOperations = () =>
  filesOf(operations, '.cc')
    .map((file) => readFileSync(file, 'utf8'))
    .filter((source) => process.arch === 'x64' || !source.includes('"vectors.h"'))
    .flatMap((source) => [...source.matchAll(/registerOperation\(\{\s+"(\w+)"/g)].map(([, name]) => name));

/** @param {string} folder @param {string} ending */
const filesOf = (folder, ending) =>
  readdirSync(folder)
    .filter((file) => file.endsWith(ending))
    .toSorted()
    .map((file) => join(folder, file));

const logLevelFlags = () => [
  ...['-O2', '-fPIC', '-shared', logLevel, `-Wl,-soname,${logLevelLibrary}`, '-o'],
  join(folder, logLevelLibrary),
];

function flags() {
  return addonFlags({
    sources: [join(paths.binding, 'binding'), operations].flatMap((folder) => filesOf(folder, '.cc')),
    includes: [join(paths.modules, 'node-api-headers', 'include'), join(libraries, 'include')],
    libraries: platform().libraries.map((file) => join(libraries, file)),
    runPath: relative(realpathSync(folder), realpathSync(libraries)),
    ...(needsLogLevel && { logLevel: join(folder, logLevelLibrary) }),
  });
}

/**
 * Loads it in a separate process, because a library that the machine cannot run ends the process that loads it.
 * @param {string} path
 */
async function load(path) {
  const code =
    `const module = { exports: {} }; process.dlopen(module, ${JSON.stringify(path)}); ` +
    'console.log(module.exports.TF_Version);';
  const output = await run(process.execPath, ['-e', code], {
    env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' },
  }).catch((cause) => {
    throw new SetupError(`TensorFlow ${version} does not load here. It needs ${platform().needs}.\n${cause.message}`, {
      cause,
    });
  });
  if (!output.includes(version))
    throw new SetupError(
      `the addon loaded TensorFlow "${output.trim()}" instead of ${version}; is LD_LIBRARY_PATH set?`,
    );
}

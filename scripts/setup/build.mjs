// @ts-check
/** The library, the tests and the scripts, compiled from TypeScript. */
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

import { digest } from './digest.mjs';
import { paths, root } from './paths.mjs';
import { run, SetupError } from './run.mjs';

/** The folder that a folder's sources are compiled to. */
const outputs = {
  lib: join(root, 'lib', 'dist'),
  tests: join(paths.build, 'tests'),
  scripts: join(paths.build, 'scripts'),
};

/** @param {string} folder @param {RegExp} name @returns {string[]} */
function files(folder, name) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ['node_modules', 'dist'].includes(entry.name) ? [] : files(path, name);
    return name.test(entry.name) ? [path] : [];
  });
}

function sources() {
  const folders = Object.keys(outputs).flatMap((folder) => files(join(root, folder), /\.(ts|json)$/));
  return [join(root, 'tsconfig.json'), ...folders].sort();
}

/** Deletes compiled tests whose source is gone; otherwise they would still be run. */
function removeStale() {
  for (const [folder, output] of Object.entries(outputs)) {
    for (const path of files(output, /\.js$/)) {
      const stem = join(root, folder, relative(output, path)).slice(0, -'.js'.length);
      if (existsSync(`${stem}.ts`)) continue;
      for (const ending of ['.js', '.js.map', '.d.ts']) rmSync(path.replace(/\.js$/, ending), { force: true });
    }
  }
}

/** @type {import('./steps.mjs').Step} */
export const build = {
  name: 'build',
  megabytes: 10,
  inputs: () => ({
    packages: digest(join(paths.modules, '.package-lock.json')),
    sources: sources().map((path) => {
      const { size, mtimeMs } = statSync(path);
      return `${relative(root, path)} ${size} ${mtimeMs}`;
    }),
  }),
  present: () => Object.values(outputs).every((folder) => existsSync(folder)),
  made: () => Object.values(outputs),
  // otherwise the compiler would trust its earlier output
  discard: () => [outputs.lib, paths.build].forEach((folder) => rmSync(join(folder, '.tsbuildinfo'), { force: true })),
  version: () => `${sources().filter((path) => path.endsWith('.ts')).length} files`,
  async run(progress) {
    progress('compiling TypeScript');
    const compiler = join(paths.modules, 'typescript', 'bin', 'tsc'); // .bin/tsc is tslab's older compiler
    await run(process.execPath, [compiler, '-b', '--pretty', 'false'], { cwd: root }).catch((cause) => {
      throw new SetupError(cause.message, { cause });
    });
    removeStale();
  },
};

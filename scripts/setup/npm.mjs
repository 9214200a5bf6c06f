// @ts-check
/** The npm packages of package-lock.json. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { paths, root } from './paths.mjs';
import { run } from './run.mjs';

const installed = join(paths.modules, '.package-lock.json'); // npm writes it last

/** @typedef {Record<string, { version?: string, integrity?: string, optional?: boolean }>} Packages */

/** @param {string} path @returns {Packages} */
function packages(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : {};
}

/** Whether node_modules matches the lockfile; a package for another platform may be missing. */
function fits() {
  const there = packages(installed);
  return Object.entries(packages(join(root, 'package-lock.json'))).every(([path, wanted]) => {
    if (path === '') return true;
    const found = there[path];
    return found ? found.version === wanted.version && found.integrity === wanted.integrity : wanted.optional === true;
  });
}

/** @type {import('./steps.mjs').Step} */
export const npm = {
  name: 'npm',
  megabytes: 1000,
  present: fits, // no inputs: node_modules itself records what it was made from
  made: () => [paths.modules],
  version: () => `${Object.keys(packages(installed)).length} packages`,
  async run(progress) {
    const cli = process.env.npm_execpath ?? '';
    const [program, ...first] = basename(cli) === 'npm-cli.js' ? [process.execPath, cli] : ['npm'];
    let fetched = 0;
    await run(program, [...first, 'ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=http'], {
      cwd: root,
      onLine: (line) => {
        if (/^npm http (fetch|cache)/.test(line)) progress(`${++fetched} packages fetched`);
      },
    });
  },
};

// @ts-check
/** `--check`: reports what is installed, and how to fix what is missing. */
import { installedCompiler } from './compiler.mjs';
import { paths } from './paths.mjs';
import { damagedFiles, isDone } from './steps.mjs';
import { gpu } from './tensorflow.mjs';

/** @typedef {import('./steps.mjs').Step} Step */

/**
 * @param {Step[]} steps
 * @param {Step[]} optional
 * @param {string} command the one that sets up
 * @returns {number} the exit status
 */
export function check(steps, optional, command = 'npm run setup') {
  /** @param {Step} step @param {string} remedy */
  const row = (step, remedy) => {
    if (!isDone(step, paths.made))
      return [step.name, step.present() ? 'out of date' : 'missing', `${remedy} (needs ${step.megabytes} MB)`];
    const damaged = damagedFiles(step, paths.made);
    if (damaged.length === 0) return [step.name, 'ok', step.version?.() ?? ''];
    return [
      step.name,
      'damaged',
      `${damaged.length === 1 ? damaged[0] : `${damaged.length} files, such as ${damaged[0]}`}; ${remedy}`,
    ];
  };
  const needed = steps.map((step) => row(step, command));
  const rows = [
    ['node', 'ok', `${process.versions.node}, ${process.execPath}`],
    ['compiler', 'ok', installedCompiler() ?? 'none; set-up fetches one from PyPI'],
    ['gpu', 'ok', gpu() ?? 'none; TensorFlow computes on the CPU'],
    ...needed,
    ...optional.map((step) =>
      row(step, `optional: npm run setup -- --${['book', 'lint', 'ray'].includes(step.name) ? step.name : 'oracles'}`),
    ),
  ];
  for (const [name = '', state = '', what] of rows) console.log(`${name.padEnd(11)}${state.padEnd(13)}${what}`);
  return needed.every(([, state]) => state === 'ok') ? 0 : 1;
}

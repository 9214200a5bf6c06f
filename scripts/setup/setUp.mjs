// @ts-check
/** What the command lines of set-up share: that of the repository (main.mjs), and that of the package (package.mjs). */
import { parseArgs } from 'node:util';

import { paths, root } from './paths.mjs';
import { SetupError } from './run.mjs';
import { runSteps } from './steps.mjs';
import { askFor } from './tensorflow.mjs';

/**
 * @typedef {object} SetUp
 * @property {string} usage
 * @property {string} command How a user runs it again.
 * @property {string[]} flags Besides --check, --cpu, --cuda and --help.
 * @property {() => number} check Reports what is there. Returns the exit status.
 * @property {(wanted: Record<string, unknown>) => import('./steps.mjs').Step[]} steps The steps for these flags.
 */

/** @param {string[]} args @param {string[]} flags @returns {Record<string, unknown>} */
function parse(args, flags) {
  const flag = /** @type {const} */ ({ type: 'boolean' });
  const help = /** @type {const} */ ({ type: 'boolean', short: 'h' });
  const own = Object.fromEntries(['check', 'cpu', 'cuda', ...flags].map((name) => [name, flag]));
  const { values } = parseArgs({ args, options: { ...own, help } });
  const wanted = /** @type {Record<string, unknown>} */ (values);
  if (wanted.cpu && wanted.cuda) throw new Error('--cpu and --cuda exclude each other');
  return wanted;
}

/** @param {string[]} args @param {SetUp} setUp @returns {Promise<number>} the exit status */
export async function setUp(args, { usage, command, flags, check, steps }) {
  let wanted;
  try {
    wanted = parse(args, flags);
  } catch (error) {
    console.error(`${/** @type {Error} */ (error).message}\n\n${usage}`);
    return 2;
  }
  if (wanted.help) {
    console.log(usage);
    return 0;
  }
  // Leaving by process.exit ends the running program and releases the lock.
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
  process.once('SIGHUP', () => process.exit(129));
  try {
    if (wanted.check) return check();
    if (wanted.cpu || wanted.cuda) askFor(wanted.cpu ? 'cpu' : 'cuda');
    await runSteps(steps(wanted), { folder: paths.made, quiet: wanted.quiet === true });
    return 0;
  } catch (error) {
    const { syscall, code, path = root, message } = /** @type {NodeJS.ErrnoException} */ (error);
    if (syscall !== undefined && ['EACCES', 'EPERM', 'EROFS'].includes(String(code))) {
      console.error(
        `${path} cannot be written (${code}): set-up keeps all that it makes in the project's folder; make that ` +
          'your own, or copy the project to a folder that is.',
      );
      return 1;
    }
    if (!(error instanceof SetupError) && syscall === undefined) throw error;
    console.error(`\n${message}\n\nRunning it again goes on from there: ${command}`);
    return 1;
  }
}

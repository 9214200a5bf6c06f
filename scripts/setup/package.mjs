// @ts-check
/** `npx alignbook setup`: sets up TensorFlow where the package is installed. */
import { parseArgs } from 'node:util';

import { addon } from './addon.mjs';
import { check } from './check.mjs';
import { paths } from './paths.mjs';
import { pipAlone } from './python.mjs';
import { SetupError } from './run.mjs';
import { runSteps } from './steps.mjs';
import { askFor, tensorflow } from './tensorflow.mjs';

const steps = [pipAlone, tensorflow, addon];

const usage = `Usage: npx alignbook setup [--check] [--cpu | --cuda]

Downloads TensorFlow from PyPI and builds its addon for Node, in node_modules. Does only what is still to do.

  --check   print what is installed, missing or damaged; change nothing
  --cpu     TensorFlow's CPU build
  --cuda    TensorFlow's CUDA build, even where there is no GPU
            (default: the one chosen last, else CUDA where an NVIDIA driver lists a GPU)
  --help

Exit status: 0 complete, 1 something is missing or failed, 2 usage, 130 interrupted.`;

/** @param {string[]} args */
function parse(args) {
  const flag = /** @type {const} */ ({ type: 'boolean' });
  const help = /** @type {const} */ ({ type: 'boolean', short: 'h' });
  const { values } = parseArgs({ args, options: { check: flag, cpu: flag, cuda: flag, help } });
  if (values.cpu && values.cuda) throw new Error('--cpu and --cuda exclude each other');
  return values;
}

/** @param {string[]} args @returns {Promise<number>} the exit status */
export async function main(args) {
  let options;
  try {
    options = parse(args);
  } catch (error) {
    console.error(`${/** @type {Error} */ (error).message}\n\n${usage}`);
    return 2;
  }
  if (options.help) {
    console.log(usage);
    return 0;
  }
  if (options.check) return check(steps, [], 'npx alignbook setup');

  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
  try {
    if (options.cpu || options.cuda) askFor(options.cpu ? 'cpu' : 'cuda');
    await runSteps(steps, { folder: paths.made });
    return 0;
  } catch (error) {
    const { message, syscall } = /** @type {NodeJS.ErrnoException} */ (error);
    if (!(error instanceof SetupError) && syscall === undefined) throw error;
    console.error(`\n${message}\n\nRunning it again continues from there: npx alignbook setup`);
    return 1;
  }
}

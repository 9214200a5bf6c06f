// @ts-check
/** The command line of set-up, and its steps in order. */
import { parseArgs } from 'node:util';

import { addon } from './addon.mjs';
import { build } from './build.mjs';
import { check } from './check.mjs';
import { kernelspec } from './kernelspec.mjs';
import { npm } from './npm.mjs';
import { paths, root } from './paths.mjs';
import { book, lint, oracles, python, testTools, trlPpo } from './python.mjs';
import { SetupError } from './run.mjs';
import { runSteps } from './steps.mjs';
import { askFor, tensorflow } from './tensorflow.mjs';
import { tokenizer } from './tokenizer.mjs';

const steps = [npm, python, tensorflow, addon, build, tokenizer, kernelspec];

const usage = `Usage: npm run setup -- [--check] [--cpu | --cuda] [--oracles] [--book] [--lint] [--quiet]

Makes ready what the notebooks and the tests need; does only what is still to do.

  --check     say what is there, what is missing and what is damaged; change nothing
  --cpu       TensorFlow's CPU build
  --cuda      TensorFlow's CUDA build, even where there is no GPU
              (default: the one asked for last, else CUDA where an NVIDIA driver lists a GPU)
  --oracles   also what the long tests need: PyTorch, transformers and TRL, and
              tests of kernels (Python 3.11 or newer)
  --book      also what makes the book (npm run book)
  --lint      nothing but what "npm run check" needs: npm's packages, and a linter of Python files
  --quiet     say nothing where nothing is to do
  --help

Exit status: 0 complete, 1 something is missing or failed, 2 usage, 130 interrupted.`;

/** @param {string[]} args */
function parse(args) {
  const flag = /** @type {const} */ ({ type: 'boolean' });
  const { values } = parseArgs({
    args,
    options: {
      check: flag,
      cpu: flag,
      cuda: flag,
      oracles: flag,
      book: flag,
      lint: flag,
      quiet: flag,
      help: { type: 'boolean', short: 'h' },
    },
  });
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
  if (options.check) return check(steps, [oracles, trlPpo, testTools, book, lint]);

  // Leaving by process.exit ends the running program and releases the lock.
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
  process.once('SIGHUP', () => process.exit(129));
  try {
    if (options.cpu || options.cuda) askFor(options.cpu ? 'cpu' : 'cuda');
    const extra = [...(options.oracles ? [oracles, trlPpo, testTools] : []), ...(options.book ? [book] : [])];
    await runSteps(options.lint ? [npm, lint] : [...steps, ...extra], { folder: paths.made, quiet: options.quiet });
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
    console.error(`\n${message}\n\nRunning it again goes on from there: npm run setup`);
    return 1;
  }
}

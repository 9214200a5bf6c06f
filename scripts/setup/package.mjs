// @ts-check
/** `npx alignbook setup`: sets up TensorFlow where the package is installed. */
import { addon } from './addon.mjs';
import { check } from './check.mjs';
import { pipAlone } from './python.mjs';
import { setUp } from './setUp.mjs';
import { tensorflow } from './tensorflow.mjs';

const steps = [pipAlone, tensorflow, addon];

const usage = `Usage: npx alignbook setup [--check] [--cpu | --cuda]

Downloads TensorFlow from PyPI and builds its addon for Node, in node_modules. Does only what is still to do.

  --check   print what is installed, missing or damaged; change nothing
  --cpu     TensorFlow's CPU build
  --cuda    TensorFlow's CUDA build, even where there is no GPU
            (default: the one chosen last, else CUDA where an NVIDIA driver lists a GPU)
  --help

Exit status: 0 complete, 1 something is missing or failed, 2 usage, 130 interrupted.`;

const command = 'npx alignbook setup';

/** @param {string[]} args @returns {Promise<number>} the exit status */
export const main = (args) =>
  setUp(args, { usage, command, flags: [], check: () => check(steps, [], command), steps: () => steps });

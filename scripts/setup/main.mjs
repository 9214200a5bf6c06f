// @ts-check
/** The command line of set-up, and its steps in order. */
import { addon } from './addon.mjs';
import { build } from './build.mjs';
import { check } from './check.mjs';
import { kernelspec } from './kernelspec.mjs';
import { npm } from './npm.mjs';
import { book, lint, oracles, python, ray, testTools, trlPpo } from './python.mjs';
import { setUp } from './setUp.mjs';
import { tensorflow } from './tensorflow.mjs';
import { tokenizer } from './tokenizer.mjs';

const steps = [npm, python, tensorflow, addon, build, tokenizer, kernelspec];

const usage = `Usage: npm run setup -- [--check] [--cpu | --cuda] [--oracles] [--ray] [--book] [--lint]
                         [--quiet]

Makes ready what the notebooks and the tests need; does only what is still to do.

  --check     say what is there, what is missing and what is damaged; change nothing
  --cpu       TensorFlow's CPU build
  --cuda      TensorFlow's CUDA build, even where there is no GPU
              (default: the one asked for last, else CUDA where an NVIDIA driver lists a GPU)
  --oracles   also what the long tests need: PyTorch, transformers and TRL, and
              tests of kernels (Python 3.11 or newer)
  --ray       also what --oracles makes, and Ray (npm run test:distributed)
  --book      also what makes the book (npm run book)
  --lint      nothing but what "npm run check" needs: npm's packages, and a linter of Python files
  --quiet     say nothing where nothing is to do
  --help

Exit status: 0 complete, 1 something is missing or failed, 2 usage, 130 interrupted.`;

/** @param {string[]} args @returns {Promise<number>} the exit status */
export const main = (args) =>
  setUp(args, {
    usage,
    command: 'npm run setup',
    flags: ['oracles', 'ray', 'book', 'lint', 'quiet'],
    check: () => check(steps, [oracles, trlPpo, testTools, ray, book, lint]),
    steps: (wanted) =>
      wanted.lint
        ? [npm, lint]
        : [
            ...steps,
            ...(wanted.oracles || wanted.ray ? [oracles, trlPpo, testTools] : []),
            ...(wanted.ray ? [ray] : []),
            ...(wanted.book ? [book] : []),
          ],
  });

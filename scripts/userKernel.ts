/**
 * `npm run kernel`: makes the notebooks' kernel known to the user's own Jupyter, and to editors such as VS Code that
 * look for kernels where Jupyter does; also takes it away again.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { FileError } from 'alignbook/dist/errors';
import { readJsonObject } from 'alignbook/dist/formats/jsonFile';
import { replaceFile } from 'alignbook/dist/formats/replace';
import { flag } from 'alignbook/dist/training/declare';

import { script, UsageError } from './command';
import { root } from './paths';

/** The notebooks' own: it is in their metadata, so that editors choose it without asking. */
const NAME = 'tslab';
const made = join(root, '.alignbook', 'python', 'share', 'jupyter', 'kernels', NAME, 'kernel.json');

/**
 * Where Jupyter keeps a user's kernels (https://docs.jupyter.org/en/latest/use/jupyter-directories.html).
 */
function userKernels(): string {
  const { XDG_DATA_HOME, JUPYTER_DATA_DIR } = process.env;
  const ofSystem =
    process.platform === 'darwin'
      ? join(homedir(), 'Library', 'Jupyter')
      : join(XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'jupyter');
  return join(JUPYTER_DATA_DIR || ofSystem, 'kernels');
}

/** The program and arguments in a kernel.json; empty if it has none. @throws FileError if it cannot be read. */
function argvOf(path: string): readonly unknown[] {
  const { argv } = readJsonObject(path);
  return Array.isArray(argv) ? argv : [];
}

type State = 'added' | 'not added' | 'the kernel of another copy of this project' | 'another kernel';

function stateOf(path: string): State {
  if (!existsSync(path)) return 'not added';
  const argv = argvOf(path);
  const program = join('scripts', 'kernel', 'main.js');
  if (argv.includes(join(root, '.alignbook', 'build', program))) return 'added';
  const isOfCollection = argv.some((part) => typeof part === 'string' && part.endsWith(program));
  return isOfCollection ? 'the kernel of another copy of this project' : 'another kernel';
}

function main({ add = false, remove = false }: { add?: boolean; remove?: boolean }): void {
  if (add && remove) throw new UsageError('--add and --remove exclude each other');
  const folder = join(userKernels(), NAME);
  const path = join(folder, 'kernel.json');
  const state = stateOf(path);
  if (state === 'another kernel' && (add || remove))
    throw new FileError(path, 'belongs to another program, so it is left as it is; jupyter kernelspec lists kernels');
  if (add) {
    mkdirSync(folder, { recursive: true });
    replaceFile(path, (write) => write(readFileSync(made)));
    console.log(`added: ${path}\nIn VS Code: Select Kernel, Jupyter Kernel, TypeScript.`);
  } else if (remove) {
    rmSync(folder, { recursive: true, force: true });
    console.log(state === 'not added' ? `there was none: ${path}` : `removed: ${folder}`);
  } else {
    console.log(`${state}: ${path}`);
  }
}

void script({
  name: 'kernel',
  summary:
    "Say whether the user's own Jupyter knows the notebooks' kernel, and with --add or --remove change that. Editors " +
    'such as VS Code find kernels in the same place. JupyterLab as npm run lab starts it needs none of this.',
  settings: {
    add: flag({ help: 'Add the kernel.' }),
    remove: flag({ help: 'Remove it.' }),
  },
  notes:
    'The kernel names this folder and this Node by their full paths: add it again after either has moved. ' +
    'JUPYTER_DATA_DIR says where it goes, if it is set.',
  status: '0 done, 1 there is another kernel of this name, 2 usage',
  run: main,
});

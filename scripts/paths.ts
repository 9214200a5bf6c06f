/** The project's folder, and what lies in it. This file, compiled, is .alignbook/build/scripts/paths.js. */
import { join, resolve } from 'node:path';

export const root = resolve(__dirname, '..', '..', '..');

/** The Python of the oracles, with PyTorch and transformers; `npm run setup -- --oracles` makes it. */
export const oraclePython = join(root, '.alignbook', 'oracles', 'bin', 'python');

/** The oracles' Python with Ray besides, and Ray's own program; `npm run setup -- --ray` makes them. */
export const rayPython = join(root, '.alignbook', 'ray', 'bin', 'python');
export const rayProgram = join(root, '.alignbook', 'ray', 'bin', 'ray');

/** A path given on a script's command line: relative to the folder of the call, because npm runs scripts in `root`. */
export const fromCaller = (path: string): string => resolve(process.env['INIT_CWD'] ?? '.', path);

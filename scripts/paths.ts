/** The project's folder, and what lies in it. This file, compiled, is .alignbook/build/scripts/paths.js. */
import { join, resolve } from 'node:path';

export const root = resolve(__dirname, '..', '..', '..');

/** The Python of the oracles, with PyTorch and transformers; `npm run setup -- --oracles` makes it. */
export const oraclePython = join(root, '.alignbook', 'oracles', 'bin', 'python');

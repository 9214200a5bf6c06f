/** The project's folder. This file, compiled, is .alignbook/build/scripts/paths.js. */
import { resolve } from 'node:path';

export const root = resolve(__dirname, '..', '..', '..');

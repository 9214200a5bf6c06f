// @ts-check
/** `tiny`, the embedded model; the script that makes it checks its hash. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { digest } from './digest.mjs';
import { paths, root } from './paths.mjs';
import { run } from './run.mjs';

/** @type {import('./steps.mjs').Step} */
export const model = {
  name: 'model',
  megabytes: 60,
  inputs: () => digest(join(root, 'scripts', 'make-tiny.ts')),
  present: () => ['config.json', 'model.safetensors'].every((file) => existsSync(join(paths.model, file))),
  version: () => 'tiny',
  async run(progress) {
    progress('making tiny');
    await run(process.execPath, [join(paths.build, 'scripts', 'make-tiny.js'), paths.model]);
  },
};

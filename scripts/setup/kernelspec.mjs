// @ts-check
/**
 * What JupyterLab reads, in the project's Python environment only: the tslab kernel, and a setting that turns off news.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { paths } from './paths.mjs';
import { sitePackages } from './python.mjs';
import { replaceFile } from './steps.mjs';

const files = () => ({
  [join(paths.python, 'share', 'jupyter', 'kernels', 'tslab', 'kernel.json')]: {
    // The Node that is running, rather than the one on a later PATH: the addon was compiled for it.
    argv: [
      process.execPath,
      '--no-force-async-hooks-checks', // these checks would end the kernel when an endless loop in a timer is stopped
      '--enable-source-maps', // stack traces show the library's TypeScript
      // Node's own limit depends on the machine's memory, and can be as low as 2 GB; tensors are outside it.
      '--max-old-space-size=4096',
      join(paths.build, 'scripts', 'kernel', 'main.js'), // tslab, repaired as it starts
      ...['--config-path', '{connection_file}'],
    ],
    display_name: 'TypeScript',
    language: 'typescript',
    env: {
      TF_CPP_MIN_LOG_LEVEL: '2',
      TF_FORCE_GPU_ALLOW_GROWTH: 'true',
      ALIGNBOOK_KALEIDO: join(sitePackages(paths.python), 'kaleido', 'executable'),
      NODE_PATH: paths.modules,
    },
  },
  [join(paths.python, 'etc', 'jupyter', 'labconfig', 'page_config.json')]: {
    disabledExtensions: { '@jupyterlab/apputils-extension:announcements': true },
  },
});

/** @type {import('./steps.mjs').Step} */
export const kernelspec = {
  name: 'kernelspec',
  megabytes: 0,
  inputs: files,
  present: () => Object.keys(files()).every((path) => existsSync(path)),
  version: () => `tslab, with ${process.execPath}`,
  run() {
    for (const [path, content] of Object.entries(files())) replaceFile(path, `${JSON.stringify(content, null, 2)}\n`);
  },
};

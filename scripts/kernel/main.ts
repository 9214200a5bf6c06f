/** The collection's kernel: the pinned tslab, repaired as it starts; nothing inside node_modules is changed. */
import { parseArgs } from 'node:util';

import { version } from 'tslab/package.json';

import { root } from '../paths';
import { CellRunner } from './compiler';
import { Server } from './server';

/** The repairs are for this version only: another one may not need them, or may need others. */
const TSLAB = '1.0.22';

function main(): void {
  // Stack frames include those of the library and of the cell's functions: with only ten, the reader's own line is
  // often not among them.
  Error.stackTraceLimit = 50;
  const { values } = parseArgs({ options: { 'config-path': { type: 'string' } } });
  const configPath = values['config-path'];
  if (configPath === undefined) throw new Error('--config-path FILE is missing; Jupyter starts the kernel with it');
  if (version !== TSLAB)
    throw new Error(
      `this kernel mends tslab ${TSLAB}, but ${version} is installed; run "npm run setup", or set the kernelspec ` +
        'to tslab itself',
    );

  const runner = new CellRunner({ strict: process.env['ALIGNBOOK_STRICT'] === '1', root });
  const server = new Server(runner, configPath, version);
  process.on('uncaughtException', (error) => server.failed(error));
  process.on('unhandledRejection', (reason) => server.failed(reason));
  server.init().catch((error: Error) => {
    console.error(`the kernel could not open its ports: ${error.message}`);
    process.exit(1);
  });
}

try {
  main();
} catch (error) {
  console.error((error as Error).message);
  process.exit(1); // at once, so that Jupyter sees that the kernel is dead
}

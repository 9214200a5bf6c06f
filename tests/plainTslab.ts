/** Runs cells in unmodified tslab, without the collection's kernel around it. */
import { after } from 'node:test';
import { format } from 'node:util';

interface Executor {
  execute(source: string): Promise<boolean>;
}
const { createConverter } = require('tslab/dist/converter.js') as {
  createConverter(options: object): { close(): void };
};
const { createExecutor } = require('tslab/dist/executor.js') as {
  createExecutor(root: string, converters: object, console: object): Executor;
};

const converter = createConverter({ isJS: false, isBrowser: false });
after(() => converter.close());

/** What the last cell prints; undefined if a cell fails. */
export async function plainTslab(...cells: readonly string[]): Promise<string | undefined> {
  const executor = createExecutor(
    process.cwd(),
    { node: converter, browser: converter },
    { log: () => undefined, error: () => undefined },
  );
  const { log } = console;
  let printed = '';
  console.log = (...values: unknown[]) => (printed += `${format(...values)}\n`);
  try {
    for (const cell of cells) {
      printed = '';
      if (!(await executor.execute(cell))) return undefined;
    }
    return printed.trim();
  } finally {
    console.log = log;
  }
}

/**
 * `npm test` and the other `npm run test:…`: runs the files of one folder of tests, several at a time and the longest
 * first, so that none is left alone at the end.
 */
import { createWriteStream, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { finished } from 'node:stream/promises';
import { run } from 'node:test';

import { junit, spec, tap } from 'node:test/reporters';
import { whole } from 'alignbook/dist/ranges';
import { number, path, text } from 'alignbook/dist/training/declare';

import { script, UsageError } from './command';
import { fromCaller, root } from './paths';

/** Tests that take far longer than the others; the first began last would end last. */
const LONGEST = ['notebooks', 'printedCommands', 'workKept', 'train', 'runner', 'kernel', 'interrupted', 'package'];

/** @throws UsageError if a name is none of a test. */
function filesOf(folder: string, names: readonly string[]): string[] {
  const all = readdirSync(folder)
    .filter((file) => file.endsWith('.test.js'))
    .map((file) => basename(file, '.test.js'));
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) throw new UsageError(`there is no test "${unknown}"; there are: ${all.join(', ')}`);
  const rank = (name: string) => (LONGEST.includes(name) ? LONGEST.indexOf(name) : LONGEST.length);
  return (names.length > 0 ? [...names] : all)
    .sort((a, b) => rank(a) - rank(b))
    .map((name) => join(folder, `${name}.test.js`));
}

async function main(files: readonly string[], concurrency: number, report: string | undefined): Promise<number> {
  const events = run({ files: [...files], concurrency });
  let failed = false;
  events.on('test:fail', ({ todo }) => (failed ||= todo === undefined || todo === false));
  const written = [];
  if (report !== undefined) {
    const file = createWriteStream(report);
    events.compose(junit).pipe(file);
    written.push(finished(file));
  }
  // For a reader on a terminal, and for programs elsewhere, as `node --test` does by itself.
  const lines = process.stdout.isTTY ? events.compose(new spec()) : events.compose(tap);
  lines.pipe(process.stdout);
  await Promise.all([finished(lines), ...written]);
  return failed ? 1 : 0;
}

void script({
  name: process.env['npm_lifecycle_event'] ?? 'test',
  summary: 'Run tests, all of them or those with the given names.',
  named: { as: 'NAME', help: 'A test by its name, such as hub for hub.test.ts (default: all).' },
  settings: {
    in: text({ value: 'FOLDER', help: 'The folder of tests.', default: 'tests' }),
    concurrency: number(whole(1), { help: 'Run N files at a time.', otherwise: 'one more than there are cores' }),
    junit: path({ value: 'FILE', help: 'Also write a report in the JUnit format to FILE.' }),
  },
  status: '0 all pass, 1 some fail, 2 usage',
  run: ({ in: folder = 'tests', concurrency = availableParallelism() + 1, junit: report }, names) =>
    main(
      filesOf(join(root, '.alignbook', 'build', folder), names),
      concurrency,
      report === undefined ? undefined : fromCaller(report),
    ),
});

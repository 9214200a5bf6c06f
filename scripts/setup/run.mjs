// @ts-check
/** Runs other programs, and turns their usual failures into one message that says what to do. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** An error whose message is for the user; printed without a stack trace. */
export class SetupError extends Error {}

/** @type {[RegExp, string][]} */
const remedies = [
  [
    /ENOSPC|No space left on device|\[Errno 28\]/,
    'The disk is full. Free some space (npm run setup -- --check says how much is needed).',
  ],
  [
    /EINTEGRITY|DO NOT MATCH THE HASHES|hash mismatch/i,
    'A download is not the file that was pinned: cut off on its way, or changed by a mirror or a proxy. If it ' +
      'happens again, ' +
      'empty the caches (npm cache clean --force; pip cache purge) and try another network or mirror.',
  ],
  [
    new RegExp(
      'ENOTFOUND|EAI_AGAIN|ECONN(REFUSED|RESET)|ETIMEDOUT|ENETUNREACH|name resolution|' +
        'NewConnectionError|Max retries exceeded|ProxyError|ReadTimeout|Network is unreachable',
      'i',
    ),
    'The registry could not be reached. Check the network; behind a proxy or with a mirror set HTTPS_PROXY, or ' +
      "npm's and pip's own configuration.",
  ],
  [
    /EACCES|Permission denied/,
    'A file cannot be written. Was set-up run as another user before? Make the folder your own again (chown).',
  ],
];

/**
 * Runs a program to its end and returns its output.
 * @param {string} program
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, onLine?: (line: string) => void }} [options]
 * @returns {Promise<string>}
 */
export async function run(program, args, { cwd, env, onLine } = {}) {
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = () => child.kill();
  process.once('exit', stop);
  /** @type {string[]} */
  const lines = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      onLine?.(line);
    });
  }
  /** @type {number | NodeJS.Signals | Error | null} */
  const ending = await new Promise((resolve) => {
    child.on('error', resolve);
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  process.off('exit', stop);

  const output = lines.join('\n');
  if (ending === 0) return output;
  const command = [program, ...args].join(' ');
  if (ending instanceof Error) throw new SetupError(`${program} could not be started: ${ending.message}`);
  const cause = remedies.find(([symptom]) => symptom.test(output));
  const tail = lines
    .filter((line) => !line.startsWith('npm http '))
    .slice(-12)
    .join('\n');
  throw new SetupError([cause?.[1], `${command}\nended with ${ending}:\n${tail}`].filter(Boolean).join('\n\n'));
}

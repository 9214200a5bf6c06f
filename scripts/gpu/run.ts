/** The results file, and the processes whose lines go into it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { appendFileSync, closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';

import type { Seen, Timed, Verdict } from './report';

/**
 * Each line is on the disk before the next step of work, so that a run that is cut off still leaves its results so far.
 */
export class Results {
  readonly counts: Record<Verdict | 'left out', number> = { ok: 0, FAILED: 0, seen: 0, 'left out': 0 };
  readonly #start = performance.now();
  readonly #file: number;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#file = openSync(path, 'w');
  }

  /** Minutes since the start. */
  get minutes(): number {
    return (performance.now() - this.#start) / 60_000;
  }

  text(text: string): void {
    console.log(text);
    writeSync(this.#file, `${text}\n`);
    fsyncSync(this.#file);
  }

  line(text: string, verdict: Verdict | 'left out' = 'seen'): void {
    this.counts[verdict] += 1;
    const seconds = Math.floor(60 * this.minutes);
    const clock = `${Math.floor(seconds / 60)}:${`${seconds % 60}`.padStart(2, '0')}`;
    for (const [n, part] of text.split('\n').entries())
      this.text(
        `${(n === 0 ? clock : '').padStart(6)}  ${(n === 0 && verdict !== 'seen' ? verdict : '').padEnd(9)} ${part}`,
      );
  }

  end(): void {
    closeSync(this.#file);
  }
}

export interface Child {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** The deadline, in minutes since the start. */
  readonly deadline: number;
  /** Its name, for a line that says that it was cut off or failed. */
  readonly name: string;
}

/** A line from a child process: a result, a time, or the name of something that is now ready. */
type Line = Seen | { readonly timed: Timed } | { readonly made: string };

const running = new Set<ChildProcess>();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));

/**
 * Runs a child process until it ends or reaches its deadline, and writes its lines to the results as they arrive.
 *
 * @param log receives its stderr.
 * @returns whether it ran to its end.
 */
export async function run(
  results: Results,
  log: string,
  child: Child,
  heard: (line: Line) => void = () => undefined,
): Promise<boolean> {
  const { program, args, env, deadline, name } = child;
  appendFileSync(log, `--- ${name}\n`);
  const own = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(own);
  let last = '';
  own.stderr.on('data', (chunk: Buffer) => {
    appendFileSync(log, chunk);
    last = `${chunk}`.trim().split('\n').at(-1) || last;
  });
  createInterface({ input: own.stdout }).on('line', (text) => {
    const line = parsed(text);
    if (line === undefined) return appendFileSync(log, `${text}\n`);
    if ('line' in line) results.line(line.line, line.verdict);
    heard(line);
  });
  let cut = false;
  const timer = setTimeout(
    () => {
      cut = true;
      own.kill('SIGKILL');
    },
    Math.max(0, 60_000 * (deadline - results.minutes)),
  );
  const status = await new Promise<number | string>((done) => {
    own.on('error', (error) => done(error.message));
    own.on('close', (code, signal) => done(code ?? signal ?? 'an unknown end'));
  });
  clearTimeout(timer);
  running.delete(own);
  if (status === 0) return true;
  if (cut) results.line(`${name}: cut at minute ${deadline.toFixed(1)}`, 'left out');
  else
    results.line(
      `${name}: ended with ${status}${last === '' ? '' : `: ${last.slice(0, 300)}`}; all that it said is in ${log}`,
      'FAILED',
    );
  return false;
}

function parsed(text: string): Line | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
}

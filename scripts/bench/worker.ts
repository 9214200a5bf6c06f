/**
 * A worker process that runs one repetition per request, so that several workers can take turns. The worker's side of
 * the protocol is in protocol.ts and protocol.py.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';

/** A worker's answer, in one JSON line: `ready` when it has started, the other fields after each line "go". */
export interface Answer {
  readonly seconds: number;
  readonly result: unknown;
}

export interface Command {
  /** The program, and its arguments before and after the task. */
  readonly command: readonly [program: string, script: string, ...rest: string[]];
  readonly env: NodeJS.ProcessEnv;
}

export class Worker {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #lines: AsyncIterator<string>;

  constructor({ command: [program, script, ...rest], env: own }: Command, task: object) {
    this.#name = [basename(script), ...rest].join(' ');
    const args = [script, JSON.stringify(task), ...rest];
    const env = { ...process.env, ...own, OMP_NUM_THREADS: `${availableParallelism()}`, HF_HUB_OFFLINE: '1' };
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
    this.#child.stdin!.on('error', () => undefined); // it has ended, which `answer` reports
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async answer(): Promise<Answer> {
    const { value, done } = await this.#lines.next();
    if (done) throw await this.#ended();
    return JSON.parse(value) as Answer;
  }

  async #ended(): Promise<Error> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode === null && signalCode === null) await once(this.#child, 'exit');
    return new Error(
      this.#child.signalCode === 'SIGKILL'
        ? `${this.#name} was killed, probably for want of memory: the peaks of a case's contenders ` +
            'add up to 23 GB; close other programs'
        : `${this.#name} ended early; its message is above`,
    );
  }

  async repeat(): Promise<Answer> {
    this.#child.stdin!.write('go\n');
    return this.answer();
  }

  /** The peak memory of the process, in MB. */
  peak(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)![1]) / 1000;
  }

  end(): void {
    this.#child.kill();
  }
}

export const minimum = (values: readonly number[]): number => Math.min(...values);
export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return Number.isInteger(middle) ? (sorted[middle - 1]! + sorted[middle]!) / 2 : sorted[Math.floor(middle)]!;
};

/** Whether two results agree: numbers within the relative tolerance, and lists and objects whose numbers do. */
export function near(one: unknown, other: unknown, tolerance: number): boolean {
  if (typeof one === 'number' && typeof other === 'number') return Math.abs(one - other) <= tolerance * Math.abs(other);
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return one === other;
  const [names, others] = [Object.keys(one), Object.keys(other)];
  return (
    names.length === others.length && names.every((name) => near(one[name as never], other[name as never], tolerance))
  );
}

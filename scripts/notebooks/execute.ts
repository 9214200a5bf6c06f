/** Runs execute.py, which executes notebooks and refuses every run that is not clean, and reads its reports. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { root } from '../paths';
import { readNotebook, type Notebook } from './notebook';

/** The lessons' files, in reading order. */
export const notebookNames = (): string[] =>
  readdirSync(join(root, 'notebooks'))
    .filter((name) => name.endsWith('.ipynb'))
    .sort();

export const isWalkthrough = (name: string): boolean => /^0[1-5]-/.test(name);

const python = join(root, '.alignbook', 'python', 'bin', 'python');
const script = join(root, 'scripts', 'notebooks', 'execute.py');

export interface ExecuteOptions {
  /** Folder for the executed copy, its HTML page and the report. */
  readonly out: string;
  /** Notebooks at a time. Default 1. */
  readonly jobs?: number;
  /** Seconds that one cell may take. Default 120. */
  readonly timeout?: number;
  /** Write HTML pages. Default false. */
  readonly html?: boolean;
  /** The MODEL of the notebooks; by default, the one in the environment. */
  readonly model?: string;
  /** Whether to show the progress lines. By default they are returned as `log`. */
  readonly progress?: boolean;
}

export interface Report {
  readonly notebook: string;
  readonly seconds: number;
  readonly cells: readonly {
    readonly id: string;
    readonly status: string;
    readonly seconds: number;
    readonly stderr: string;
    readonly error: string;
  }[];
  /** Null if the run was clean. */
  readonly refused: { readonly cell: string | null; readonly reason: string; readonly detail: string } | null;
}

export interface Execution {
  /** 0 all clean, 1 some refused, 2 usage, 130 interrupted. */
  readonly exitCode: number;
  readonly log: string;
  readonly reports: readonly Report[];
}

export async function executeNotebooks(paths: readonly string[], options: ExecuteOptions): Promise<Execution> {
  if (!existsSync(python)) throw new Error('the project\'s Python environment is missing; run "npm run setup"');
  const { out, jobs = 1, timeout = 120, html = false, model, progress = false } = options;
  const child = spawn(
    python,
    [script, '--out', out, '--jobs', `${jobs}`, '--timeout', `${timeout}`, ...(html ? ['--html'] : []), ...paths],
    {
      stdio: ['ignore', progress ? 'inherit' : 'pipe', progress ? 'inherit' : 'pipe'],
      env: { ...process.env, ...(model !== undefined && { MODEL: model }) },
    },
  );

  let log = '';
  child.stdout?.on('data', (chunk) => (log += chunk));
  child.stderr?.on('data', (chunk) => (log += chunk));

  // A terminal's Ctrl-C reaches the child process too; it stops its kernels and exits, and then this process exits.
  const pass = (signal: NodeJS.Signals) => void child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  const exitCode = await new Promise<number>((done, fail) => {
    child.on('error', fail);
    child.on('close', (code) => done(code ?? 1));
  }).finally(() => signals.forEach((signal) => process.off(signal, pass)));

  const reportPaths = paths.map((path) => join(out, `${basename(path, '.ipynb')}.json`));
  const reports = reportPaths
    .filter((path) => existsSync(path))
    .map((path) => JSON.parse(readFileSync(path, 'utf8')) as Report);
  if (exitCode <= 1 && reports.length < paths.length) throw new Error(`the notebooks could not be executed\n${log}`);
  return { exitCode, log, reports };
}

export function executedCopy(out: string, notebook: string): Notebook {
  return readNotebook(join(out, notebook));
}

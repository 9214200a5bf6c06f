/**
 * `npm run gpu:check`, which unpack.py --check starts, too: five steps on the GPU, in a fixed order, with a limit of
 * minutes (see kit.py).
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

import { plural } from 'alignbook/dist/errors';

import { script } from '../command';
import { isWalkthrough, notebookNames } from '../notebooks/execute';
import { root } from '../paths';
import { about, optionsFrom, settings, type Options } from './options';
import { findPyTorch, PYTHON_ENV, type PyTorch } from './pytorch';
import type { Timed } from './report';
import { Results, run, type Child } from './run';
import { disagreement, operations, timeLine } from './tasks';
import type { TaskFile } from './times';

const POLICIES = ['fp32', 'tf32', 'bf16'] as const;
type Policy = (typeof POLICIES)[number];

/** The part of the check that its steps share. */
class Check {
  readonly #made = new Map<string, () => void>();
  onGpu = false;

  constructor(
    readonly options: Options,
    readonly results: Results,
    readonly log: string,
    /** The folder for PyTorch's results. */
    readonly folder: string,
  ) {}

  readonly half = () => this.options.minutes / 2;

  wants(step: number): boolean {
    return this.options.steps.includes(step);
  }

  script(
    name: string,
    args: readonly string[],
    policy: Policy,
    deadline: number,
    heard?: (line: { timed: Timed }) => void,
    env: NodeJS.ProcessEnv = {},
  ): Promise<boolean> {
    const child: Child = {
      name: `${name} ${args.join(' ')}, ${policy}`,
      program: process.execPath,
      args: [join(__dirname, `${name}.js`), ...args],
      env: { ALIGNBOOK_COMPUTE: policy, ...env },
      deadline,
    };
    return run(this.results, this.log, child, (line) => 'timed' in line && heard?.(line));
  }

  python(
    name: string,
    args: readonly string[],
    deadline: number,
    heard: (line: { timed?: Timed; made?: string }) => void,
  ): Promise<boolean> {
    return run(
      this.results,
      this.log,
      {
        name: `${name} ${args.slice(1).join(' ')}`,
        program: this.options.python,
        args: [join(root, 'scripts', 'gpu', name), ...args],
        env: PYTHON_ENV,
        deadline,
      },
      (line) => 'line' in line || heard(line),
    );
  }

  /** Starts values.py; `values` then tells when each of its results is ready. */
  startValues(device: string, shapes: readonly string[]): (name: string) => Promise<boolean> {
    const ended = this.python(
      'values.py',
      [this.folder, device, ...shapes],
      this.half(),
      ({ made }) => made !== undefined && this.#made.get(made)?.(),
    );
    const there = new Map(
      ['product', ...shapes].map((name) => [
        name,
        new Promise<boolean>((done) => this.#made.set(name, () => done(true))),
      ]),
    );
    return (name) =>
      Promise.race([
        there.get(name)!,
        ended.then((well) => well && existsSync(join(this.folder, name === 'product' ? 'product.json' : name))),
      ]);
  }
}

/** The ways of PyTorch to take a step of DPO that are timed beside ours. */
const waysFor = (policy: Policy, { trl }: PyTorch): string =>
  ['tuned', ...(policy === 'fp32' ? ['eager'] : []), ...(trl && policy !== 'tf32' ? ['trl'] : [])].join();

async function walkthrough(check: Check): Promise<void> {
  const names = notebookNames().filter(isWalkthrough);
  const work = Array.from(
    { length: Math.max(1, Math.min(names.length, Math.floor(availableParallelism() / 2))) },
    async () => {
      for (let name = names.shift(); name !== undefined; name = names.shift())
        await check.script('cells', [name], 'fp32', check.half());
    },
  );
  await Promise.all(work);
}

/** Runs fp32 first, and each policy's own times before PyTorch's; writes a line as soon as a result is known. */
async function times(check: Check, model: string, pytorch: PyTorch | null): Promise<void> {
  const { results, onGpu, options } = check;
  const small = !onGpu;
  const file = join(check.folder, 'tasks.json');
  const made = [model, file, ...(small ? ['small'] : [])];
  await check.script('makeTasks', made, 'fp32', options.minutes, undefined, { CUDA_VISIBLE_DEVICES: '-1' });
  if (!existsSync(file)) return;
  const { tasks } = JSON.parse(readFileSync(file, 'utf8')) as TaskFile;
  const beside = pytorch !== null && (pytorch.device === 'cuda' || !onGpu);
  if (!beside)
    results.line(
      pytorch === null
        ? "PyTorch's times are left out: it is not there"
        : "PyTorch's times are left out: it is the CPU build. Its CUDA build is PyPI's: pip install torch, for the " +
            'Python that --python names',
      'left out',
    );
  for (const policy of small ? (['fp32', 'bf16'] as const) : (['fp32', 'bf16', 'tf32'] as const)) {
    const ours = new Map<string, Timed>();
    await check.script('times', [file], policy, options.minutes, ({ timed }) => {
      ours.set(timed.name, timed);
      results.line(timeLine(policy, timed, undefined));
    });
    if (!beside) continue;
    let peak = 0;
    await check.python('times.py', [file, policy, waysFor(policy, pytorch)], options.minutes, ({ timed }) => {
      if (timed === undefined) return;
      const own = ours.get(timed.name);
      results.line(timeLine(policy, timed, own));
      peak = timed.peak ?? 0;
      const differs =
        own && policy === 'fp32'
          ? disagreement(own, timed, tasks.find(({ name }) => name === timed.name)!.kind)
          : undefined;
      if (differs !== undefined) results.line(differs, 'FAILED');
    });
    if (peak === 0) continue;
    results.line(`${policy}: the fastest product of PyTorch reaches ${(peak / 1e12).toPrecision(3)} TFLOP/s`);
    for (const task of tasks.filter(({ kind, name }) => kind === 'dpo' && ours.has(name))) {
      const speed = operations(task, model) / Math.min(...ours.get(task.name)!.seconds);
      results.line(
        `${policy} ${task.name}: products with the weights at ${(speed / 1e12).toPrecision(3)} TFLOP/s, ` +
          `${((100 * speed) / peak).toFixed(1)} % of that`,
      );
    }
  }
}

async function steps(check: Check): Promise<void> {
  const { results, options } = check;
  results.text('\nStep 1: the device');
  const asked = findPyTorch(options.python);
  await check.script('device', [], 'fp32', check.half(), undefined, { TF_CPP_MIN_LOG_LEVEL: '0' });
  check.onGpu = /^ +[\d:]+  ok +a GPU was opened$/m.test(readFileSync(options.results, 'utf8'));
  if (!check.onGpu) {
    results.text(
      options.rehearse
        ? '\nNo GPU was opened: everything below runs on the CPU, and is a rehearsal.\n'
        : '\nNo GPU was opened: the rest is left out (--rehearse runs it on the CPU). ' +
            `What TensorFlow tried is in ${check.log}\n`,
    );
    if (!options.rehearse) return;
  }
  const pytorch = await asked;
  if (pytorch === null)
    results.line(
      `${options.python} cannot import torch, transformers and safetensors: what is compared with PyTorch is left ` +
        'out; name another with --python, or run npm run setup -- --oracles',
      'left out',
    );
  else if (check.onGpu && pytorch.device === 'cpu')
    results.line('PyTorch is the CPU build: values are compared with those that it computes on the CPU');
  const random = check.onGpu ? 'gpt2' : 'small';
  const compares = [1, 3, 5].some((step) => check.wants(step));
  const values =
    pytorch === null || !compares
      ? undefined
      : check.startValues(pytorch.device, check.wants(3) || check.wants(5) ? ['tiny', random] : []);
  const policies = POLICIES.filter((policy) => check.onGpu || policy !== 'tf32');

  if (check.wants(1) && (await values?.('product')))
    for (const policy of policies) await check.script('device', [check.folder], policy, check.half());
  if (check.wants(2)) {
    results.text('\nStep 2: the values of notebooks 1 to 5');
    await walkthrough(check);
  }
  if (check.wants(3)) {
    results.text(
      '\nStep 3: log-probs, gradients and generation beside PyTorch (absolute and relative difference, largest ' +
        'element)',
    );
    if (await values?.('tiny')) await check.script('exact', ['tiny', join(check.folder, 'tiny')], 'fp32', check.half());
    if (await values?.(random))
      for (const policy of policies)
        await check.script('exact', [random, join(check.folder, random)], policy, check.half());
  }
  if (check.wants(4)) {
    results.text('\nStep 4: twenty steps of DPO');
    await check.script('steps', [], 'fp32', check.half());
  }
  if (check.wants(5)) {
    results.text(
      '\nStep 5: times, fastest and median, and memory of the ' +
        `card${check.onGpu ? '' : ' (of small models, a few times each: they say nothing)'}`,
    );
    if (await values?.(random)) await times(check, join(check.folder, random, 'model'), pytorch);
    else results.line('times are left out: PyTorch makes the model for them', 'left out');
  }
}

function origin(): string {
  const manifest = join(root, '..', 'manifest.json');
  const { made, commit } = existsSync(manifest)
    ? (JSON.parse(readFileSync(manifest, 'utf8')) as Record<string, string>)
    : {};
  return made === undefined ? 'this project' : `the kit of ${made}, ${commit}`;
}

async function main(options: Options): Promise<void> {
  const log = `${options.results.replace(/\.txt$/, '')}.log`;
  const results = new Results(options.results);
  writeFileSync(log, '');
  const folder = mkdtempSync(join(tmpdir(), 'gpu-check-'));
  try {
    results.text(
      `gpu:check of ${origin()}, ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC; ` +
        `${plural(options.minutes, 'minute')} at most; log: ${log}`,
    );
    const check = new Check(options, results, log, folder);
    await steps(check);
    const { ok, FAILED: failed, 'left out': leftOut } = results.counts;
    const where = check.onGpu ? 'on the GPU' : 'on the CPU: no GPU was opened';
    results.text(
      `\n${plural(ok, 'check')} passed, ${failed} failed, ${leftOut} left out, ${where}; ` +
        `${results.minutes.toFixed(1)} ` +
        `minutes. All of it is in ${options.results}`,
    );
    if (failed > 0 || !(check.onGpu || options.rehearse)) process.exitCode = 1;
  } finally {
    results.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

void script({ name: 'gpu:check', settings, ...about, run: (values) => main(optionsFrom(values)) });

/** The hardware and software of a measurement, and the file that stores the results. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { dirname, join } from 'node:path';

import { device } from 'alignbook';
import { release } from 'alignbook/dist/engine/handle';
import { floats, l2 } from 'alignbook/dist/engine/ops';
import { processorFlags } from 'alignbook/dist/tf';

import { oraclePython, root } from '../paths';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly gigabytes: number;
  /** The instruction sets that matrix products use. */
  readonly instructions: readonly string[];
  /** Versions by package. */
  readonly versions: Readonly<Record<string, string>>;
}

const INSTRUCTIONS = ['avx2', 'fma', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16'];

/** @param python the packages of the oracles whose versions to record. */
export function machine(python: readonly string[] = []): Machine {
  return {
    cpu: cpus()[0]!.model.trim(),
    cores: availableParallelism(),
    gigabytes: Math.round(totalmem() / 2 ** 30),
    instructions: INSTRUCTIONS.filter((name) => processorFlags.has(name)),
    versions: {
      node: process.versions.node,
      tensorflow: device().tensorflow,
      ...(python.length > 0 && pythonVersions(python)),
    },
  };
}

/** Whether the processor itself multiplies in bfloat16; otherwise, such products are emulated. */
export const hasBfloat16 = ({ instructions }: Machine): boolean =>
  instructions.includes('avx512_bf16') || instructions.includes('amx_bf16');

export const headline = ({ cpu, cores, instructions, versions }: Machine): string =>
  `${cpu}, ${cores} cores (${instructions.join(', ')}), ${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}`;

/**
 * Bytes a second at which all cores together read memory, by the fastest of ten sums over 256 MB: the limit of whatever
 * reads each weight once, as generation with one row does.
 */
export function readingSpeed(): number {
  const elements = 2 ** 26;
  const x = floats(new Float32Array(elements), [elements]);
  let fastest = Infinity;
  for (let n = 0; n < 10; n += 1) {
    const start = performance.now();
    using sum = l2(x);
    sum.values();
    fastest = Math.min(fastest, performance.now() - start);
  }
  release(x);
  return (4 * elements * 1000) / fastest;
}

function pythonVersions(packages: readonly string[]): Record<string, string> {
  const program =
    'import importlib.metadata as m, json, sys; print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))';
  const { stdout, stderr, status } = spawnSync(oraclePython, ['-c', program, ...packages], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the versions of ${packages.join(', ')} cannot be told: ${stderr}`);
  return JSON.parse(stdout) as Record<string, string>;
}

/** Results by name, from one machine. */
export interface Results<Result> {
  readonly machine: Machine;
  readonly results: Readonly<Record<string, Result & { readonly date: string }>>;
}

/**
 * What is stored after a measurement: the new results, and stored results of other names if they come from the same
 * machine. Sorted by name, 4 pairs before 16.
 */
export function joined<Result extends object>(
  before: Results<Result> | undefined,
  on: Machine,
  measured: Readonly<Record<string, Result>>,
  date: string,
): Results<Result> {
  const others = before && JSON.stringify(before.machine) === JSON.stringify(on) ? before.results : {};
  const dated = Object.fromEntries(Object.entries(measured).map(([name, result]) => [name, { date, ...result }]));
  const results = Object.entries({ ...others, ...dated }).sort(([a], [b]) =>
    a.localeCompare(b, 'en', { numeric: true }),
  );
  return { machine: on, results: Object.fromEntries(results) };
}

/**
 * Writes results to executed/, or merges them into those stored in data/bench/.
 *
 * @param name the name of the file, without .json.
 */
export function writeResults<Result extends object>(
  name: string,
  on: Machine,
  results: Readonly<Record<string, Result>>,
  { keep }: { keep: boolean },
): void {
  const path = keep ? join(root, 'data', 'bench', `${name}.json`) : join(root, 'executed', `${name}.json`);
  const before = keep && existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Results<Result>) : undefined;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(
    path,
    `${JSON.stringify(joined(before, on, results, new Date().toISOString().slice(0, 10)), null, 1)}\n`,
  );
}

/**
 * What the driver reports about the first GPU. Import this before the library, so that `atStart` is measured before
 * TensorFlow starts.
 */
import { spawnSync } from 'node:child_process';

function query(fields: string): string | null {
  const { status, stdout } = spawnSync('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv,noheader,nounits'], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  const first = status === 0 ? stdout.split('\n')[0]!.trim() : '';
  return first === '' ? null : first;
}

/** Name, driver, compute capability, memory; null without a driver. */
export const card = (): string | null => query('name,driver_version,compute_cap,memory.total');

const used = (): number | null => {
  const megabytes = Number(query('memory.used') ?? NaN);
  return Number.isNaN(megabytes) ? null : megabytes;
};

const atStart = used();

/**
 * Memory in use on the whole card since this process began: this process's own, as long as no other process begins or
 * ends.
 */
export function megabytesTaken(): number | null {
  const now = atStart === null ? null : used();
  return now === null ? null : now - atStart!;
}

/**
 * What the driver says of the first GPU. To be imported before the library, so that `atStart` is of the time before
 * TensorFlow.
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

/** Of the whole card, taken since this process began: of this process, while no other one begins or ends. */
export function megabytesTaken(): number | null {
  const now = atStart === null ? null : used();
  return now === null ? null : now - atStart!;
}

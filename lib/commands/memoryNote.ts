/** Tells before a model is loaded that its training needs more memory than there is. */
import type { GPT2Config } from '../formats/config';
import { device } from '../tf';
import type { OptionsOf } from '../training/declare';
import { trainingMemory } from '../training/memory';
import type { loraSettings } from './runSettings';

type MemoryConfig = OptionsOf<typeof loraSettings> & { readonly frozen?: readonly string[] };

interface Circumstances {
  readonly available?: number;
  readonly reference?: boolean;
  readonly mayAdapt?: boolean;
}

/** No batch: what every batch of the training needs. */
const NOTHING = { tokens: 0, rows: 0, rowLength: 0, scored: 0 } as const;

/**
 * @param available bytes. Default: what this process can have, also in a container.
 * @param reference whether a reference model is held beside a policy that trains all its weights.
 * @param mayAdapt whether the training can train adapters instead, which are then proposed if they fit.
 * @returns a sentence without the prefix "note: ", if even the smallest batch does not fit.
 */
export function memoryNotes(
  sizes: GPT2Config,
  config: MemoryConfig,
  { available = process.availableMemory(), reference = false, mayAdapt = true }: Circumstances = {},
): string[] {
  // frozen weights need neither moments nor gradients; an adapter that is trained further has its own rank
  if (config.frozen !== undefined || config.continueAdapter === true || device().name === 'gpu') return [];
  const own = trainingMemory(sizes, NOTHING, { ...config, reference: reference && config.loraRank === undefined });
  if (own.peak <= available) return [];
  const adapters = trainingMemory(sizes, NOTHING, { loraRank: 8, baseDtype: 'BF16' }).peak;
  const parts = (['weights', 'moments', 'gradients', 'reference'] as const).filter((name) => own[name] > 0);
  return [
    `this training takes at least ${gigabytes(own.peak)} of memory ` +
      `(${parts.map((name) => `${name} ${gigabytes(own[name])}`).join(', ')}), and ${gigabytes(available)} are free; ` +
      (mayAdapt && adapters <= available
        ? `adapters over a base in BF16 (loraRank 8, baseDtype BF16) take ${gigabytes(adapters)}`
        : 'take a smaller model, or a machine with more memory'),
  ];
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

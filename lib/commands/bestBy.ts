/**
 * Which metrics each command's validation has, so that a wrong `bestBy` is refused before the first step, not after the
 * first validation.
 */
import { InputError } from '../errors';

const OF_TOKENS = ['loss', 'entropy', 'meanTokenAccuracy'] as const;

export const VALIDATION_METRICS = {
  'train-sft': OF_TOKENS,
  'train-dpo': [
    ...OF_TOKENS,
    'rewards/chosen',
    'rewards/rejected',
    'rewards/margins',
    'rewards/accuracies',
    'logps/chosen',
    'logps/rejected',
  ],
  'train-reward': ['loss', 'accuracy', 'margin', 'scores/chosen', 'scores/rejected', 'calibrationError', 'brier'],
} as const;

/** @throws InputError if the command's validation has no such metric. */
export function requireBestBy(command: keyof typeof VALIDATION_METRICS, bestBy: string | undefined): void {
  const metrics: readonly string[] = VALIDATION_METRICS[command];
  if (bestBy !== undefined && !metrics.includes(bestBy))
    throw new InputError(`bestBy: the validation has no "${bestBy}"; it has ${metrics.join(', ')}`);
}

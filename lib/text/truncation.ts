/** Rows that exceed the model's context window. */
import { InputError } from '../errors';
import type { PromptResponses } from './responseBatch';

export const TRUNCATIONS = ['refuse', 'prompt-start', 'response-end'] as const;

/**
 * What happens to a row whose prompt and longest response have more than `maxLength` tokens.
 * - `refuse`: it is wrong.
 * - `prompt-start`: the prompt loses tokens at its start; what is nearest to the response, and the response, stay. TRL
 *   1.16 has it as `keep_end`, but cuts each sequence of a pair for itself, so that chosen and rejected would follow
 *   different prompts, and cuts into a response that fills the window. Here the cut follows from the longer response,
 *   and such a row is wrong.
 * - `response-end`: responses lose tokens at their end, each as many as it must. One that was cut has no
 *   end-of-sequence token: the model does not learn from it where to stop. This is TRL's `keep_start`, its default. A
 *   row whose prompt fills the window, which TRL drops in silence, is wrong.
 *
 * At least one token of the prompt and one of each response always stay.
 */
export type Truncation = (typeof TRUNCATIONS)[number];

/** @throws InputError if the row is too long and must not, or cannot, be cut. */
export function truncate(
  row: PromptResponses,
  { maxLength, truncation = 'refuse' }: { readonly maxLength: number; readonly truncation?: Truncation },
): PromptResponses {
  const { promptIds, responses } = row;
  const longest = Math.max(...responses.map((ids) => ids.length));
  const length = promptIds.length + longest;
  if (length <= maxLength) return row;
  if (truncation === 'prompt-start') {
    if (longest >= maxLength)
      throw new InputError(
        `a response of ${longest} tokens leaves no place for the prompt, the limit is ${maxLength}; shorten it ` +
          'or leave the row out',
      );
    return { promptIds: promptIds.slice(length - maxLength), responses };
  }
  if (truncation === 'response-end') {
    const left = maxLength - promptIds.length;
    if (left < 1)
      throw new InputError(
        `a prompt of ${promptIds.length} tokens leaves no place for a response, the limit is ${maxLength}; ` +
          'shorten it or leave the row out',
      );
    return { promptIds, responses: responses.map((ids) => ids.slice(0, left)) };
  }
  throw new InputError(`${length} tokens, the limit is ${maxLength}; shorten its texts or leave it out`);
}

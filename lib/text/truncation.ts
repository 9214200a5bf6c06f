/** Truncates or refuses rows that exceed the model's context window. */
import { InputError, plural } from '../errors';
import type { PromptResponses } from './responseBatch';

export const TRUNCATIONS = ['refuse', 'prompt-start', 'response-end'] as const;

/**
 * What to do with a row whose prompt and longest response have more than `maxLength` tokens together.
 * - `refuse`: The row is an error.
 * - `prompt-start`: The prompt loses tokens at its start; its end, nearest to the response, and the response stay
 *   whole. TRL 1.16 calls this `keep_end`, but it cuts each sequence of a pair separately, so that chosen and rejected
 *   would follow different prompts, and it cuts into a response that fills the window. Here the longer response
 *   determines the cut, and a response that fills the window is an error.
 * - `response-end`: Each response loses as many tokens at its end as necessary. A response that was cut has no
 *   end-of-sequence token, so the model does not learn to stop there. This is TRL's `keep_start`, its default. A row
 *   whose prompt fills the window is an error; TRL drops it silently.
 *
 * At least one token of the prompt and one of each response always stay.
 */
export type Truncation = (typeof TRUNCATIONS)[number];

/** @throws InputError if the row is too long and `truncation` is `refuse` or cannot shorten it. */
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
        `a response of ${plural(longest, 'token')} leaves no room for the prompt, the limit is ${maxLength}; ` +
          'shorten it or leave the row out',
      );
    return { promptIds: promptIds.slice(length - maxLength), responses };
  }
  if (truncation === 'response-end') {
    const left = maxLength - promptIds.length;
    if (left < 1)
      throw new InputError(
        `a prompt of ${plural(promptIds.length, 'token')} leaves no room for a response, the limit is ${maxLength}; ` +
          'shorten it or leave the row out',
      );
    return { promptIds, responses: responses.map((ids) => ids.slice(0, left)) };
  }
  throw new InputError(`${plural(length, 'token')}, the limit is ${maxLength}; shorten its texts or leave it out`);
}

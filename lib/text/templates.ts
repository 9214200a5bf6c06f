/** Instructions -> prompts. */
import { InputError } from '../errors';

/**
 * The Alpaca prompt, as the walkthrough words it, up to and including "### Response:\n". The heading belongs to the
 * prompt, because the model is always given it: scored as response, it would count as something to learn.
 *
 * @param input the text that the instruction is about; left out if empty, as most rows of Alpaca's data have it.
 * @throws InputError if the instruction is empty.
 */
export function alpacaPrompt({ instruction, input = '' }: { instruction: string; input?: string }): string {
  if (instruction === '') throw new InputError('the instruction is empty');
  return (
    'Below is an instruction that describes a task.\n' +
    'Write a response that appropriately completes the request.' +
    `\n\n### Instruction:\n${instruction}` +
    (input === '' ? '' : `\n\n### Input:\n${input}`) +
    '\n\n### Response:\n'
  );
}

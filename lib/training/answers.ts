/** What a model says at a step of its training: greedy answers to a few fixed prompts. */
import { quoted } from '../errors';
import type { GPT2 } from '../model/gpt2';
import { RANGES, requireRange } from '../ranges';
import { respond, type Decoder, type Sample } from './rollout';

/** A greedy answer to a prompt, as a line of samples.jsonl has it. */
export interface Answer {
  /** The step after which it was given; 0 is before the first. */
  readonly step: number;
  readonly prompt: string;
  /** Without the end-of-sequence token. */
  readonly response: string;
  /** Number of new tokens, including the end-of-sequence token. */
  readonly tokens: number;
  /** Whether the end-of-sequence token came. */
  readonly ended: boolean;
}

export interface AnswerInputs {
  readonly model: GPT2;
  readonly tokenizer: Decoder;
  /** Token ids. */
  readonly prompts: readonly (readonly number[])[];
  /** End an answer after N tokens. Default 64. */
  readonly maxNewTokens?: number | undefined;
  /** Stop between two tokens, throwing the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Takes the most likely token each time, so it draws nothing, and changes nothing in a training between two steps. */
export function greedySamples({ model, tokenizer, prompts, maxNewTokens, signal }: AnswerInputs): Promise<Sample[]> {
  const options = { temperature: 0, ...(maxNewTokens !== undefined && { maxNewTokens }), ...(signal && { signal }) };
  return respond(model, tokenizer, prompts, options, [...prompts.keys()]);
}

/** @param step the step after which the model answers, from 0. @throws InputError as `generate` does. */
export async function answersAt(step: number, inputs: AnswerInputs): Promise<Answer[]> {
  const samples = await greedySamples(inputs);
  return samples.map(({ promptIds, text, ids, ended }) => ({
    step,
    prompt: inputs.tokenizer.decode(promptIds),
    response: text,
    tokens: ids.length,
    ended,
  }));
}

/** An answer beside the one that the model gave before the first step that was watched. */
export type ComparedAnswer = Answer & { readonly before: string };

/**
 * The steps of any training, with `samples` after every `sampleEvery` steps: greedy answers to `prompts`, each beside
 * the answer before. The numbers of the training are the same with and without it.
 *
 *     watch(withSamples(trainDpo(policy, pairs, options), { model: policy, tokenizer, prompts, sampleEvery: 10 }), …)
 *
 * @throws InputError if `sampleEvery` is not a whole number from 1 up; also whatever training and `generate` throw.
 */
export async function* withSamples<Step extends { readonly step: number }>(
  training: AsyncIterable<Step>,
  { sampleEvery, ...inputs }: AnswerInputs & { readonly sampleEvery: number },
): AsyncGenerator<Step & { readonly samples?: readonly ComparedAnswer[] }, void> {
  requireRange('sampleEvery', sampleEvery, RANGES.validated.validateEvery);
  const before = await answersAt(0, inputs);
  const compared = async (step: number): Promise<ComparedAnswer[]> =>
    (await answersAt(step, inputs)).map((answer, n) => ({ ...answer, before: before[n]!.response }));
  for await (const event of training)
    yield event.step % sampleEvery === 0 ? { ...event, samples: await compared(event.step) } : event;
}

/** Characters of a prompt that a line shows: its end, since prompts made by a template begin alike. */
const SHOWN = 60;

/** The end of a prompt in quotation marks, its white space as single spaces. */
export function promptEnd(prompt: string): string {
  const text = prompt.replace(/\s+/g, ' ').trim();
  return quoted(text.length <= SHOWN ? text : `…${text.slice(-SHOWN)}`);
}

/** An answer in one line: `"… complicated'? ### Response:" -> "Simple."` */
export const shortAnswer = ({ prompt, response }: Answer): string => `${promptEnd(prompt)} -> ${quoted(response)}`;

/** A judge that is a chat model behind an OpenAI-compatible address, such as a local Ollama or vLLM. */
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { clipped, InputError, oneLine, plural, quoted } from '../errors';
import { environmentFetch } from '../hub/proxy';
import { Passing, retryAfter } from '../hub/refusal';
import type { Judge, Judgement, ResponsePair, Winner } from './judge';

/**
 * MT-Bench's instruction for comparing two answers (arXiv 2306.05685, Figure 5), shortened. The responses are named by
 * their place.
 */
export const JUDGE_TEMPLATE = `Act as an impartial judge: which of two responses to a prompt is better? \
Judge how helpful, correct and clear they are. Neither their order nor their length may influence you. \
Give your reason in one or two sentences. Then end with one line that has only your verdict: \
[[A]] if response A is better, [[B]] if response B is better, [[C]] if they are equally good.

[Prompt]
{prompt}

[Response A]
{a}

[Response B]
{b}`;

export interface ChatJudgeOptions {
  /** The address under which /chat/completions is, such as http://127.0.0.1:11434/v1 for Ollama. */
  url: string;
  /** The model's name, as the service knows it. */
  model: string;
  /** Sent as a bearer token, if the service wants one; read it from an environment variable. */
  apiKey?: string | undefined;
  /** The question, with {prompt}, {a} and {b} in it, each at least once. Default: `JUDGE_TEMPLATE`. */
  template?: string;
  /** Milliseconds that an answer may take. Default 60,000. */
  timeout?: number;
  /** How often one question is asked, at most, until there is an answer with a verdict. Default 3. */
  attempts?: number;
  /** Milliseconds before the second attempt, doubled for each further one. Default 1000. */
  retryDelay?: number;
  /** Tokens that an answer may have. Default 512. */
  maxTokens?: number;
}

/** Bytes of an answer; nothing from a network can be trusted. */
const LARGEST_ANSWER = 1e6;
/** Milliseconds that a service may ask to wait. */
const LONGEST_WAIT = 120_000;

/**
 * A judge that asks a chat model, at temperature 0. An answer without exactly one verdict, or an empty one, is asked
 * for again, and after `attempts` becomes a judgement with a `failure`; it is never guessed.
 *
 * @throws InputError at once if an option does not fit; when it judges, if the service cannot be reached or refuses.
 */
export function chatJudge(options: ChatJudgeOptions): Judge {
  const { url, template = JUDGE_TEMPLATE, attempts = 3, retryDelay = 1000 } = options;
  const isHere = requireAddress(options);
  for (const place of ['{prompt}', '{a}', '{b}'])
    if (!template.includes(place)) throw new InputError(`the judge's template has no ${place}; write it in`);
  const get = isHere ? fetch : environmentFetch(); // no proxy reaches a service on this machine
  let hasAnswered = false;

  return async (comparison, signal): Promise<Judgement> => {
    const question = filled(template, comparison);
    for (let attempt = 1; ; attempt += 1) {
      signal?.throwIfAborted();
      let wait = retryDelay * 2 ** (attempt - 1);
      try {
        const judgement = verdictOf(await ask(get, question, options, signal));
        hasAnswered ||= judgement.failure === undefined;
        if (judgement.failure === undefined || attempt >= attempts) return judgement;
      } catch (error) {
        // A service that judges other pairs refuses this one for its texts: they are too long, or filtered.
        if (error instanceof Refused && hasAnswered) return { winner: 'tie', failure: error.message };
        if (!(error instanceof Passing)) throw error;
        wait = Math.min(error.wait ?? wait, LONGEST_WAIT);
        if (attempt >= attempts)
          throw new InputError(
            `the judge at ${url}: ${error.message}, in ${plural(attempt, 'attempt')}; ` +
              'check that the service runs, or give it more time, then run the same again',
            { cause: error },
          );
      }
      await sleep(wait, undefined, { signal }).catch(() => signal?.throwIfAborted()); // the signal's own reason
    }
  };
}

/** A question that the service refuses, where others may be accepted. */
class Refused extends InputError {}

/** A text's fields, replaced in one pass: a response may itself contain "{b}". */
const filled = (template: string, fields: ResponsePair): string =>
  template.replace(/\{(prompt|a|b)\}/g, (_, name: keyof ResponsePair) => fields[name]);

/** @returns the answer's text; empty if it has none. */
async function ask(
  get: typeof fetch,
  question: string,
  { url, model, apiKey, timeout = 60_000, maxTokens = 512 }: ChatJudgeOptions,
  signal?: AbortSignal,
): Promise<string> {
  const body = { model, messages: [{ role: 'user', content: question }], temperature: 0, max_tokens: maxTokens };
  const late = AbortSignal.timeout(timeout);
  try {
    const response = await get(new URL(`${url.replace(/\/+$/, '')}/chat/completions`), {
      method: 'POST',
      redirect: 'manual', // the key goes to this address only
      headers: {
        'content-type': 'application/json',
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      },
      body: JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    const text = await textOf(response);
    if (!response.ok) throw refusal(response, text, url, apiKey !== undefined);
    return contentOf(text);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof InputError || error instanceof Passing) throw error;
    if (late.aborted) throw new Passing(`no answer within ${timeout / 1000} s`);
    const { cause } = error as Error;
    throw new Passing(`cannot be reached (${oneLine(cause ?? error)})`);
  }
}

async function textOf(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size > LARGEST_ANSWER) throw new Passing(`an answer has more than ${LARGEST_ANSWER / 1e6} MB`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

/** Busy and broken services may answer later; other refusals stay as they are. */
function refusal({ status, headers }: Response, body: string, url: string, hasKey: boolean): Error {
  const said = body.trim() === '' ? '' : ` (${clipped(oneLine(messageOf(body) ?? body))})`;
  if (status === 408 || status === 429 || status >= 500) {
    return new Passing(`answers ${status}${said}`, retryAfter(headers));
  }
  const remedy =
    status === 401 || status === 403
      ? hasKey
        ? 'the key is not accepted; check its environment variable'
        : 'it wants a key; put it into the environment variable and name that'
      : status === 404
        ? "check the address, which usually ends in /v1, and the model's name"
        : status < 400
          ? 'it redirects; give the address that it redirects to'
          : "check the model's name and the length of the texts";
  const isAboutTexts = status === 400 || status === 413 || status === 422;
  return new (isAboutTexts ? Refused : InputError)(`the judge at ${url} answers ${status}${said}: ${remedy}`);
}

function messageOf(body: string): string | undefined {
  try {
    const { error } = JSON.parse(body) as { error?: { message?: unknown } | string };
    const said = typeof error === 'object' ? error.message : error;
    return typeof said === 'string' ? said : undefined;
  } catch {
    return undefined;
  }
}

function contentOf(body: string): string {
  try {
    const { choices } = JSON.parse(body) as {
      choices?: { message?: { content?: unknown }; finish_reason?: unknown }[];
    };
    const content = choices?.[0]?.message?.content;
    if (typeof content !== 'string') return '';
    return choices?.[0]?.finish_reason === 'length' ? `${content}\n${CUT}` : content;
  } catch {
    throw new Passing(`the answer is not JSON (${quoted(body)})`);
  }
}

/** Ends an answer that reached `maxTokens`: its last line is no verdict then. */
const CUT = '(cut at maxTokens)';

const VERDICTS: Readonly<Record<string, Winner>> = { A: 'a', B: 'b', C: 'tie' };

/**
 * A verdict is the only one in the answer, and in its last line that is not empty; text before it is the reason. What a
 * reasoning model puts between <think> and </think> is not part of the answer.
 */
export function verdictOf(answer: string): Judgement {
  const said = answer.replace(/^\s*<think>.*?<\/think>/s, '').trim();
  const none = (failure: string): Judgement => ({ winner: 'tie', failure });
  if (said === '') return none('the answer is empty');
  if (said.startsWith('<think>')) return none('the answer ends within its thoughts; raise maxTokens');
  const found = [...said.matchAll(/\[\[([ABC])\]\]/g)].map((match) => match[1]!);
  if (found.length === 0) return none(`the answer has no [[A]], [[B]] or [[C]]: ${quoted(oneLine(said))}`);
  if (new Set(found).size > 1) return none(`the answer has several verdicts: ${quoted(oneLine(said))}`);
  if (!/\[\[[ABC]\]\]/.test(said.split('\n').at(-1)!))
    return none(`the answer does not end with its verdict: ${quoted(oneLine(said))}`);
  const reason = oneLine(said.replaceAll(/\[\[[ABC]\]\]/g, ''));
  return { winner: VERDICTS[found[0]!]!, ...(reason !== '' && { reason }) };
}

/** @returns whether the service is on this machine. */
function requireAddress({ url, model, apiKey }: ChatJudgeOptions): boolean {
  const address = /^https?:\/\/[^/]/.test(url) && URL.canParse(url) ? new URL(url) : undefined;
  if (address === undefined || address.username !== '' || address.search !== '')
    throw new InputError(
      `the judge's address must be one such as http://127.0.0.1:11434/v1, without a user or a "?", got ${quoted(url)}`,
    );
  if (model === '') throw new InputError("the judge's model is empty; name one that the service has");
  const { hostname, protocol } = address;
  const isHere =
    hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'));
  if (apiKey !== undefined && protocol === 'http:' && !isHere)
    throw new InputError(`${url} would show the key to the network; give an https address, or no key`);
  if (apiKey !== undefined && !/^[\x21-\x7e]+$/.test(apiKey))
    throw new InputError('the key has characters that no header can have; check its environment variable');
  return isHere;
}

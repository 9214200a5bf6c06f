/** Keeps each judgement in a file, so that an interrupted or repeated run asks about nothing twice. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';

import { FileError } from '../errors';
import { requireJudgement, type Judge, type Judgement, type ResponsePair } from './judge';

/**
 * The same judge, whose judgements are appended to `path` as JSON lines, `{"prompt", "a", "b", "winner", "reason"}`, as
 * soon as each is known; the first line names the judge. Judgements that are in the file are not asked for again.
 * Answers without a verdict are not kept. A last line that was cut off is removed.
 *
 * @param identity names the judge, such as its model and a digest of the question, or the digest of a reward model.
 * @throws FileError if the file was written by another judge or a line is damaged.
 */
export function keptJudge(judge: Judge, path: string, identity: string): Judge {
  const known = readJudgements(path, identity);
  const kept = async (comparison: ResponsePair, signal?: AbortSignal): Promise<Judgement> => {
    const key = keyOf(comparison);
    const before = known.get(key);
    if (before !== undefined) return before;
    const judgement = requireJudgement(await judge(comparison, signal), comparison);
    if (judgement.failure !== undefined) return judgement;
    const { prompt, a, b } = comparison;
    appendFileSync(path, `${JSON.stringify({ prompt, a, b, ...judgement })}\n`);
    known.set(key, judgement);
    return judgement;
  };
  return Object.assign(kept, { symmetric: judge.symmetric ?? false });
}

const keyOf = ({ prompt, a, b }: ResponsePair): string => JSON.stringify([prompt, a, b]);

function readJudgements(path: string, identity: string): Map<string, Judgement> {
  const known = new Map<string, Judgement>();
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
  if (whole === '') {
    mkdirSync(dirname(path), { recursive: true });
    appendFileSync(path, `${JSON.stringify({ judge: identity })}\n`);
    return known;
  }
  for (const [n, line] of whole.trimEnd().split('\n').entries()) {
    const said = lineOf(path, line, n + 1);
    if (n > 0) known.set(keyOf(said as unknown as ResponsePair), judgementOf(path, said, n + 1));
    else if (said['judge'] !== identity)
      throw new FileError(
        path,
        `has the judgements of ${JSON.stringify(said['judge'])}, not of ${JSON.stringify(identity)}; ` +
          'give another output, or remove this file to ask again',
      );
  }
  return known;
}

function lineOf(path: string, line: string, number: number): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch (cause) {
    throw new FileError(path, `line ${number} is not JSON; remove the line to have its comparison judged again`, {
      cause,
    });
  }
}

function judgementOf(path: string, { winner, reason }: Record<string, unknown>, number: number): Judgement {
  if (winner !== 'a' && winner !== 'b' && winner !== 'tie')
    throw new FileError(path, `line ${number} has no "winner" of a, b or tie; remove the line`);
  return { winner, ...(typeof reason === 'string' && { reason }) };
}

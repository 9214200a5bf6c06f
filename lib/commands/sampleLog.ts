/** samples.jsonl of a run's folder: one line for each greedy answer of a step, none twice, also after a resume. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { replaceFile } from '../formats/replace';
import type { Answer } from '../training/answers';
import type { LiveAnswers } from './liveAnswers';

export class SampleLog {
  readonly #path: string;
  readonly #live: LiveAnswers;
  readonly #texts: ReadonlyMap<string, readonly number[]>;
  readonly #answers: Answer[];

  /**
   * @param step the step from which the run goes on. Answers of later steps are removed, since these steps run again; a
   *   run that begins again keeps none.
   */
  constructor(folder: string, live: LiveAnswers, step: number) {
    this.#path = join(folder, 'samples.jsonl');
    this.#live = live;
    this.#texts = new Map(live.prompts.map((ids) => [live.textOf(ids), ids]));
    const lines = existsSync(this.#path) ? readFileSync(this.#path, 'utf8').split('\n') : [];
    this.#answers = step === 0 ? [] : lines.flatMap(answerOf).filter((answer) => answer.step <= step);
    const kept = this.#answers.map(lineOf).join('');
    if (kept !== lines.join('\n')) replaceFile(this.#path, (write) => write(kept));
  }

  /** The answers after `step`, by their prompts, as far as they are in the file. */
  at(step: number): Map<string, Answer> {
    return new Map(this.#answers.filter((answer) => answer.step === step).map((answer) => [answer.prompt, answer]));
  }

  /** The prompts that have no answer after `step` yet. */
  missing(step: number): (readonly number[])[] {
    const known = this.at(step);
    return [...this.#texts].filter(([text]) => !known.has(text)).map(([, ids]) => ids);
  }

  /**
   * Answers the prompts that have no answer after `step` yet, and appends the answers.
   *
   * @returns the answers to all prompts, in order.
   * @throws the reason of `signal`, and then appends nothing.
   */
  async take(step: number, signal?: AbortSignal): Promise<Answer[]> {
    const missing = this.missing(step);
    if (missing.length > 0) this.#append(await this.#live.answers(step, missing, signal));
    const all = this.at(step);
    return [...this.#texts.keys()].map((text) => all.get(text)!);
  }

  #append(answers: readonly Answer[]): void {
    const file = openSync(this.#path, 'a');
    try {
      writeSync(file, answers.map(lineOf).join(''));
      fsyncSync(file); // they must reach the disk before a checkpoint that follows them
    } finally {
      closeSync(file);
    }
    this.#answers.push(...answers);
  }
}

const lineOf = (answer: Answer): string => `${JSON.stringify(answer)}\n`;

/** The answer of a line; none for a line that was cut off. */
function answerOf(line: string): Answer[] {
  try {
    return [JSON.parse(line) as Answer];
  } catch {
    return [];
  }
}

/** Answers to a few prompts, sampled before and during a training: what the lines of samples.jsonl say of them. */

/** What a line says of its answer: its number of tokens; 1 if it ended by itself, else 0. */
export type AnswerFigure = 'tokens' | 'ended';

/** A figure of all answers of a step; step 0 is before the first. */
export interface StepFigures {
  readonly step: number;
  readonly values: readonly number[];
}

export class SampledAnswers {
  readonly #steps = { tokens: new Map<number, number[]>(), ended: new Map<number, number[]>() };

  add(step: number, figure: AnswerFigure, value: number): void {
    const steps = this.#steps[figure];
    const values = steps.get(step);
    if (values === undefined) steps.set(step, [value]);
    else values.push(value);
  }

  /** The steps that have this figure, in ascending order. */
  of(figure: AnswerFigure): StepFigures[] {
    return [...this.#steps[figure]].map(([step, values]) => ({ step, values })).sort((a, b) => a.step - b.step);
  }
}

/** Asks a run's model for answers, before, between and after its steps: measures them, logs them and prints some. */
import { quoted } from '../errors';
import type { Trainable } from '../model/weights';
import { promptEnd, shortAnswer } from '../training/answers';
import type { LiveAnswers } from './liveAnswers';
import type { RunFolder } from './runFolder';
import type { SampleLog } from './sampleLog';
import { statusLine } from './terminal';

interface Step {
  readonly step: number;
  readonly validation?: object;
}

/**
 * Adds the metrics of held-out answers to a step that needs them.
 *
 * @throws whatever a metric throws, once the step's line is written without its validation, which a resumed run
 *   completes (`beginMeasures`).
 */
export async function measured(
  live: LiveAnswers | undefined,
  folder: RunFolder,
  model: Trainable,
  { validation, ...step }: Step,
): Promise<{ event: Step; metrics: Record<string, number> }> {
  if (!live?.isMeasured(step.step)) return { event: validation ? { ...step, validation } : step, metrics: {} };
  try {
    const metrics = await live.measure(step.step);
    return { event: { ...step, validation: { ...validation, ...metrics } }, metrics };
  } catch (error) {
    folder.add({ ...step, unmeasured: validation ?? {} }, model);
    throw error;
  }
}

/**
 * Measures and logs the answers before the first step, where a function that cannot measure them is found early; after
 * a resume, completes the step from which the run goes on, whose answers may have been cut off.
 *
 * @param board receives the step's event, if its validation was not complete.
 */
export async function beginMeasures(
  live: LiveAnswers,
  folder: RunFolder,
  model: Trainable,
  { step, samples, board }: { step: number; samples: SampleLog; board: ((event: Step) => void) | undefined },
): Promise<void> {
  if (step === 0) {
    if (live.isMeasured(0)) showValidation('before the first step', inWords(await live.measure(0)));
    await samples.take(0, live.interruption.signal);
    return;
  }
  const { unmeasured } = folder;
  if (unmeasured !== undefined && live.isMeasured(step)) {
    const { unmeasured: validation, ...rest } = unmeasured;
    const metrics = await live.measure(step);
    const event = { ...rest, validation: { ...validation, ...metrics } };
    folder.complete(event, model);
    board?.(event);
    showValidation(`after step ${step}`, inWords(metrics));
  }
  if (live.isSampled(step) && samples.missing(step).length > 0) await tellSamples(samples, live, step);
}

export const inWords = (metrics: Readonly<Record<string, number>>): string[] =>
  Object.entries(metrics).map(([name, value]) => `${name} ${value.toFixed(3)}`);

export function showValidation(when: string, parts: readonly string[]): void {
  statusLine('');
  console.log([`validation ${when}`, ...parts].join('  '));
}

/** Logs the answers after a step, and prints them in short form. @throws the reason of an interruption. */
export async function tellSamples(samples: SampleLog, { interruption }: LiveAnswers, step: number): Promise<void> {
  const answers = await samples.take(step, interruption.signal);
  statusLine('');
  for (const answer of answers) console.log(`answer after step ${step}  ${shortAnswer(answer)}`);
}

/**
 * Logs the answers of the model that was written, even after an interruption, and prints the first beside the one
 * before the training.
 */
export async function printBeforeAndAfter(samples: SampleLog, step: number): Promise<void> {
  const [after] = await samples.take(step);
  if (after === undefined) return;
  const before = samples.at(0).get(after.prompt)?.response;
  console.log(`prompt  ${promptEnd(after.prompt)}`);
  console.log(`before  ${before === undefined ? 'not known: this prompt was not asked then' : quoted(before)}`);
  console.log(`after   ${quoted(after.response)}`);
}

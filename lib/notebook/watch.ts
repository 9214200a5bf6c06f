/** Runs a training, shows its progress, and ends it at an interrupt. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { plural } from '../errors';
import { bar } from '../hub/progress';
import { shortAnswer, type ComparedAnswer } from '../training/answers';
import { stepProgress } from '../training/stepProgress';
import { answerTable } from './answerTable';
import { curves } from './figures';
import { describePanels, valuesOf, type Panels } from './panels';
import { figureContent, imageContent, liveOutput } from './show';

export interface WatchOptions<Step> {
  /** Total number of steps, including those of an earlier part of the run. */
  steps: number;
  /** Panels to draw, as in `curves`; their values also appear in the progress line. Default: the loss. */
  curves?: Panels<Step>;
}

/** Minimum milliseconds between two drawings of the curves, and maximum fraction of the time spent drawing. */
const DRAWN_EVERY = 2000;
const DRAWING_SHARE = 0.04;

/**
 * Runs a training to its end, and shows its steps below the cell: a progress line, the curves so far, and a table of
 * the model's answers if the steps have any (`withSamples`).
 *
 *     const history = await watch(trainDpo(policy, pairs, options), {
 *       steps: 50,
 *       curves: { loss: (s) => s.loss, 'reward accuracy': (s) => s.rewards.accuracies },
 *     });
 *
 * An interrupt (JupyterLab's stop button, Ctrl-C) ends the training after the current step, and the cell continues with
 * the steps so far. The final output below the cell is the same after every run. Outside a notebook, a progress line is
 * printed to the console now and then.
 *
 * @param training an iterable of events, such as `trainSft` and `trainDpo` return; its `finally` has run by the time
 *   this function returns or throws.
 * @returns all events, in order.
 * @throws whatever `training` throws.
 */
export async function watch<
  Step extends {
    readonly step: number;
    readonly loss?: number;
    readonly samples?: readonly ComparedAnswer[] | undefined;
  },
>(
  training: AsyncIterable<Step>,
  { steps, curves: panels = { loss: ({ loss }) => loss } }: WatchOptions<Step>,
): Promise<Step[]> {
  const history: Step[] = [];
  const progress = progressLine(steps);
  const draw = drawing(history, panels);
  const tell = telling();
  const last = () => history.at(-1)?.step ?? 0;

  const interrupt = await onInterrupt();
  let ended = 'failed';
  try {
    for await (const step of training) {
      history.push(step);
      progress.step(step.step, valuesOf(step, panels));
      draw();
      if (step.samples) tell(step.samples);
      await nextTurn(); // lets an interrupt arrive, and the kernel answer
      if (interrupt.wished) break;
    }
    ended = interrupt.wished && last() < steps ? 'interrupted' : '';
  } finally {
    interrupt.release();
    progress.end(ended === '' ? `${last()} of ${plural(steps, 'step')}` : `${ended} after step ${last()} of ${steps}`);
    draw({ whole: true });
  }
  return history;
}

/**
 * Draws the history so far: now and then an image of the figure, and the figure itself once the history is complete.
 * JupyterLab's plotly extension draws a figure once and ignores updates.
 */
function drawing<Step extends { readonly step: number }>(
  history: readonly Step[],
  panels: Panels<Step>,
): (state?: { whole: boolean }) => void {
  const output = liveOutput();
  let next = -Infinity;
  return ({ whole } = { whole: false }) => {
    const start = performance.now();
    const least = whole ? 1 : 2; // a curve begins with its second point
    if (!output || history.length < least || (!whole && start < next)) return;
    output((whole ? figureContent : imageContent)(curves(history, panels), describePanels(history, panels)));
    const end = performance.now();
    next = end + Math.max(DRAWN_EVERY, (end - start) / DRAWING_SHARE);
  };
}

/** Shows answers: a table that grows in a notebook, otherwise a line for each. */
function telling(): (samples: readonly ComparedAnswer[]) => void {
  const output = liveOutput();
  const told: ComparedAnswer[] = [];
  return (samples) => {
    if (!output)
      return samples.forEach((answer) => console.log(`answer after step ${answer.step}: ${shortAnswer(answer)}`));
    told.push(...samples);
    const { html, text } = answerTable(told);
    output({ data: { 'text/html': html, 'text/plain': text }, metadata: {} });
  };
}

/** Milliseconds between two lines. In a notebook the new line replaces the old one. */
const EVERY = { notebook: 200, console: 10_000 };

/** A width, in characters, that fits the output of every cell. Values that would exceed it go on a separate line. */
const WIDTH = 100;

interface ProgressLine {
  step(step: number, values: readonly (readonly [name: string, value: number])[]): void;
  /** Writes the last line. It contains no times or rates, because it stays in the notebook. */
  end(text: string): void;
}

/**
 * Shows the progress of a training run: one line that is overwritten in a notebook, or a line now and then in a
 * console.
 *
 *     step 17 of 50 [######              ]  2.1 steps/s  0:16 left  loss 0.6512  accuracy 0.7500
 *
 * @param now a monotonic clock, in milliseconds.
 */
function progressLine(steps: number, now: () => number = () => performance.now()): ProgressLine {
  const output = liveOutput();
  const write = output
    ? (text: string) => output({ data: { 'text/plain': text }, metadata: {} })
    : (text: string) => console.log(text);
  const every = output ? EVERY.notebook : EVERY.console;
  const progress = stepProgress(steps, now);
  let written = -Infinity;
  if (output) write(`step 0 of ${steps} [${bar(0)}]`);
  return {
    step(step, values) {
      const { head: made, rate } = progress(step);
      const time = now();
      if (time - written < every) return;
      written = time;
      const head = rate === '' ? made : `${made}  ${rate}`;
      const tail = values.map(([name, value]) => `${name} ${digits(value)}`).join('  ');
      write(`${head}${head.length + tail.length > WIDTH ? '\n' : '  '}${tail}`);
    },
    end: write,
  };
}

/** Four decimal places if those suffice, otherwise an exponent. */
function digits(value: number): string {
  return value === 0 || Math.abs(value) >= 1e-3 ? value.toFixed(4) : value.toExponential(2);
}

/** A request to stop, which a loop checks between steps. */
interface Interrupt {
  readonly wished: boolean;
  /** Restores SIGINT's previous behavior. */
  release(): void;
}

/**
 * Turns SIGINT, from JupyterLab's stop button or Ctrl-C in a terminal, into a request that a loop checks between steps.
 *
 * It replaces the existing handlers of SIGINT until it arrives once: tslab's would end the cell and lose its
 * declarations. After that they are back, so a second interrupt ends a cell whose step never finishes.
 *
 * It first waits for a turn of the event loop. While the synchronous part of a cell runs, Node sets all handlers of
 * SIGINT aside; if one were registered then, the next interrupt would kill the kernel.
 */
async function onInterrupt(): Promise<Interrupt> {
  await nextTurn();
  const others = process.rawListeners('SIGINT') as NodeJS.SignalsListener[];
  let wished = false;
  let released = false;
  const release = () => {
    if (released) return;
    released = true;
    for (const listener of others) process.on('SIGINT', listener);
    process.off('SIGINT', onSignal);
  };
  const onSignal = () => {
    wished = true;
    setImmediate(release); // not immediately: several clicks during one step arrive together
  };
  process.on('SIGINT', onSignal);
  for (const listener of others) process.off('SIGINT', listener);
  return {
    get wished() {
      return wished;
    },
    release,
  };
}

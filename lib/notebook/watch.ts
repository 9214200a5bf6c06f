/** Runs a training and shows its progress. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { plural } from '../errors';
import { curves } from './figures';
import { onInterrupt } from './interrupt';
import { describePanels, valuesOf, type Panels } from './panels';
import { progressLine } from './progressLine';
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
 * Runs a training to its end, and shows its steps below the cell: a progress line and the curves so far.
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
export async function watch<Step extends { readonly step: number; readonly loss?: number }>(
  training: AsyncIterable<Step>,
  { steps, curves: panels = { loss: ({ loss }) => loss } }: WatchOptions<Step>,
): Promise<Step[]> {
  const history: Step[] = [];
  const progress = progressLine(steps);
  const draw = drawing(history, panels);
  const last = () => history.at(-1)?.step ?? 0;

  const interrupt = await onInterrupt();
  let ended = 'failed';
  try {
    for await (const step of training) {
      history.push(step);
      progress.step(step.step, valuesOf(step, panels));
      draw();
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
    if (!output || history.length === 0 || (!whole && start < next)) return;
    output((whole ? figureContent : imageContent)(curves(history, panels), describePanels(history, panels)));
    const end = performance.now();
    next = end + Math.max(DRAWN_EVERY, (end - start) / DRAWING_SHARE);
  };
}

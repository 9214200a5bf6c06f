/** Runs a training and shows its progress. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { curves } from './figures';
import { onInterrupt } from './interrupt';
import { describePanels, valuesOf, type Panels } from './panels';
import { progressLine } from './progressLine';
import { figureContent, imageContent, liveOutput } from './show';

export interface WatchOptions<Step> {
  /** Steps in all, those of an earlier part of the run included. */
  steps: number;
  /** What is drawn, as `curves` takes it, and shown in the progress line. Default: the loss. */
  curves?: Panels<Step>;
}

/** Milliseconds between two drawings of the curves, at least; and a drawing's share of the time, at most. */
const DRAWN_EVERY = 2000;
const DRAWING_SHARE = 0.04;

/**
 * Takes the steps of a training as they come, to their end, and shows them below the cell: a progress line and the
 * curves so far.
 *
 *     const history = await watch(trainDpo(policy, pairs, options), {
 *       steps: 50,
 *       curves: { loss: (s) => s.loss, 'reward accuracy': (s) => s.rewards.accuracies },
 *     });
 *
 * An interrupt (JupyterLab's stop button, Ctrl-C) ends the training after the running step; the cell goes on, with the
 * steps so far. What stands below the cell in the end says the same after every run. Outside a notebook, a line now and
 * then goes to the console.
 *
 * @param training an iterable of events, such as `trainSft` and `trainDpo` give; its `finally` has run when this
 *   returns or throws.
 * @returns all events, in order.
 * @throws what `training` throws.
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
      await nextTurn(); // in which an interrupt arrives, and the kernel answers
      if (interrupt.wished) break;
    }
    ended = interrupt.wished && last() < steps ? 'interrupted' : '';
  } finally {
    interrupt.release();
    progress.end(ended === '' ? `${last()} of ${steps} steps` : `${ended} after step ${last()} of ${steps}`);
    draw({ whole: true });
  }
  return history;
}

/**
 * Draws the history as it is: images of the figure now and then, and the figure once it is whole. JupyterLab's plotly
 * extension draws a figure once and passes over its updates.
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

/** A figure that a slider moves, in the page, without the kernel. */
import { InputError, plural } from '../errors';
import type { Figure, FigureFrame } from './figure';
import { INK } from './style';

export interface SliderOptions {
  /** Shown before the name of the current state: `β = `. */
  readonly label: string;
  /** Index of the state that the figure and its image begin with. Default: 0. */
  readonly start?: number;
}

const AT_ONCE = { mode: 'immediate', frame: { duration: 0, redraw: true }, transition: { duration: 0 } };
/** Pixels below the axis title, for the slider. */
const ROOM = 110;

/**
 * Adds a slider below a figure, with one position for each state.
 *
 *     const states = [0.1, 0.5].map((beta) => ({ name: `${beta}`, data: [{ y: losses(beta) }] }));
 *     show(withSlider({ data: [{ x: margins }], layout }, states, { label: 'β = ' }), 'The larger β, the sooner …');
 *
 * @param figure what all states share. Its layout's `margin`, if it has one, leaves room for the slider at the bottom.
 * @param states the traces' parts that change, in the order of the figure's `data`, under distinct names.
 * @throws InputError if there is no state, two have one name, or `start` is not the index of one.
 */
export function withSlider(
  figure: Figure,
  states: readonly FigureFrame[],
  { label, start = 0 }: SliderOptions,
): Figure {
  const names = states.map(({ name }) => name);
  const first = states[start];
  if (first === undefined)
    throw new InputError(`the slider has ${plural(states.length, 'state')}, so it cannot start at index ${start}`);
  if (new Set(names).size < names.length)
    throw new InputError(`two states of the slider have one name: ${names.join(', ')}`);
  const slider = {
    active: start,
    currentvalue: { prefix: label },
    pad: { t: 50 },
    tickcolor: INK,
    bordercolor: INK,
    steps: names.map((name) => ({ label: name, method: 'animate', args: [[name], AT_ONCE] })),
  };
  const traces = figure.data.map((trace, n) => ({ ...trace, ...first.data?.[n] }));
  return {
    data: traces as Figure['data'],
    layout: { margin: { t: 30, b: ROOM }, ...figure.layout, ...first.layout, sliders: [slider] },
    frames: states,
  };
}

/** The types of a figure: plotly's own (plotly.js-dist 4.1), plus what `show` also accepts. */
import type { Data, Layout } from 'plotly.js-dist';

import type { tf } from '../tf';

/**
 * A value that cannot be drawn. `show` refuses it with one line that says what to write instead; without this type, the
 * compiler would print a page about lists.
 */
type Refused =
  | tf.Tensor
  | PromiseLike<unknown>
  | BigInt64Array
  | BigUint64Array
  | ReadonlySet<unknown>
  | ReadonlyMap<unknown, unknown>;

/**
 * A plotly type as `show` accepts it. In a separate variable, TypeScript widens `{ orientation: 'h' }` to a string and
 * `[0, 1]` to a list of any length, so any string is accepted for one of several, and any list for a pair.
 */
type Loose<T> = 0 extends 1 & T
  ? T
  : T extends string
    ? T | (string & {})
    : T extends number
      ? number
      : T extends ArrayBufferView
        ? T | Refused
        : T extends boolean | null | undefined | Date | ((...args: never[]) => unknown)
          ? T
          : T extends readonly (infer Item)[]
            ? readonly (Loose<Item> | undefined)[]
            : Fields<T>;

/** A plotly object; its title may be a plain string. */
export type Fields<T> = { readonly [Key in keyof T]: Loose<T[Key]> | (Key extends 'title' ? string : never) };

/** The same as `Fields`, except that `type` stays strict, because it distinguishes the traces. */
type Typed<T> = {
  readonly [Key in keyof T]: Key extends 'type' ? T[Key] : Loose<T[Key]> | (Key extends 'title' ? string : never);
};

/** A plotly trace, by its `type`; without one it is a `scatter` (https://plotly.com/javascript/reference/). */
export type Trace = Typed<Data>;

/**
 * A trace whose `type` TypeScript knows only as a string. If it is written in place, it is a type that plotly lacks.
 */
export interface UnknownTraceType {
  readonly type: string;
}

/** Plotly's layout: axes, legend, annotations, and sizes in pixels. */
export interface FigureLayout extends Fields<Partial<Layout>> {}

/**
 * One state of a figure that moves: a slider or a button of the layout shows it by its name
 * (https://plotly.com/javascript/sliders/).
 */
export interface FigureFrame {
  /** As the slider's step names it in `args`. */
  readonly name: string;
  /** What changes in the traces, in the order of the figure's `data`; the rest stays. */
  readonly data?: readonly (Partial<Trace> | UnknownTraceType)[];
  /** What changes in the layout. */
  readonly layout?: FigureLayout | Pick<FigureLayout, 'autosize'>;
}

/** A plotly figure: plain data in the form of plotly.js. Lists may be typed arrays, such as a tensor's `dataSync()`. */
export interface Figure {
  readonly data: readonly (Trace | UnknownTraceType)[];
  /** The second form admits a value of type `object`, created elsewhere. */
  readonly layout?: FigureLayout | Pick<FigureLayout, 'autosize'>;
  /** The states that sliders and buttons of the layout switch between, in the page, without the kernel. */
  readonly frames?: readonly FigureFrame[];
}

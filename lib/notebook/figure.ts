/** The types of a figure: plotly's own (plotly.js-dist 4.1), and what `show` accepts in addition. */
import type { Data, Layout } from 'plotly.js-dist';

import type { tf } from '../tf';

/**
 * A figure that cannot be drawn. `show` refuses it with one line that says what to write; without this type, the
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
 * A plotly type as `show` takes it. Since TypeScript widens what stands in a variable of its own (`{ orientation: 'h'
 * }` becomes a string, `[0, 1]` a list of any length), any string goes for one of several, and any list for a pair.
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

/** An object of plotly's; its title may be the text alone. */
export type Fields<T> = { readonly [Key in keyof T]: Loose<T[Key]> | (Key extends 'title' ? string : never) };

/** As `Fields`, but for the type, which says which of the traces this is. */
type Typed<T> = {
  readonly [Key in keyof T]: Key extends 'type' ? T[Key] : Loose<T[Key]> | (Key extends 'title' ? string : never);
};

/** One of plotly's traces, by its `type`; without one it is a `scatter` (https://plotly.com/javascript/reference/). */
export type Trace = Typed<Data>;

/** A trace whose `type` TypeScript knows as a string only; written in place, one that plotly does not have. */
export interface UnknownTraceType {
  readonly type: string;
}

/** Plotly's layout: axes, legend, annotations, sizes in pixels. */
export interface FigureLayout extends Fields<Partial<Layout>> {}

/** A plotly figure: plain data, as plotly.js takes it; lists may be typed arrays, such as a tensor's `dataSync()`. */
export interface Figure {
  readonly data: readonly (Trace | UnknownTraceType)[];
  /** The second form lets an `object` pass, made elsewhere. */
  readonly layout?: FigureLayout | Pick<FigureLayout, 'autosize'>;
}

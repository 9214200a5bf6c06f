/**
 * Turns a figure into JSON for plotly: typed arrays become lists, and titles take plotly 4's form. A value that JSON
 * would silently drop is an error.
 */
import { types } from 'node:util';

import { InputError } from '../errors';
import type { Figure } from './figure';
import { checkTraceType } from './traceTypes';

/** The result of `plainFigure`: a JSON value. */
export interface PlainFigure {
  readonly data: readonly object[];
  readonly layout?: object;
  readonly frames?: readonly object[];
}

/**
 * Keys whose values are the reader's own data or a call's arguments: a `title` inside them is not the figure's title.
 */
const OWN = new Set(['customdata', 'meta', 'args', 'args2']);

/**
 * Copies a figure into plain data, at any depth:
 * - a typed array becomes a list; a 32-bit number keeps only the digits that distinguish it from its neighbors (0.1,
 *   not 0.10000000149011612);
 * - NaN and ±Infinity become null, for which plotly leaves a gap; a Date becomes its local time, as plotly.js shows it;
 * - `title: 'text'`, which plotly.js 4 ignores, becomes `title: { text: 'text' }`.
 *
 * @throws InputError naming the field, for a value that JSON would empty, drop or fail on (a tensor, a Promise, a
 *   BigInt, a function, a Map or Set, a circular reference), and for a trace of an unknown type.
 */
export function plainFigure(figure: Figure): PlainFigure {
  try {
    return plainParts(figure);
  } catch (error) {
    // start the stack at the reader's own line, not deep in a recursion
    if (error instanceof InputError) Error.captureStackTrace(error, plainFigure);
    throw error;
  }
}

function plainParts(figure: Figure): PlainFigure {
  const found = refusal(figure, 'figure');
  if (found !== undefined) throw new InputError(`the figure is ${found}`);
  const { data, layout, frames } = (figure ?? {}) as { data?: unknown; layout?: unknown; frames?: unknown };
  const unfit = refusal(data, 'data');
  if (unfit !== undefined) throw new InputError(`data is ${unfit}`);
  if (!Array.isArray(data))
    throw new InputError(`${describe(data, 'data')}; give show a list of traces: { data: [{ y: [1, 2, 3] }] }`);
  const inside: object[] = [figure];
  const traces = data.map((trace: unknown, n) => {
    const plainTrace = plain(trace, `data[${n}]`, 'trace', [...inside, data], false);
    if (!isRecord(plainTrace))
      throw new InputError(`${describe(trace, `data[${n}]`)}; a trace is an object, such as { y: [1, 2, 3] }`);
    checkTraceType(plainTrace['type'], `data[${n}]`);
    return plainTrace;
  });
  const moving = frames === undefined || frames === null ? {} : { frames: plainFrames(frames, inside) };
  if (layout === undefined || layout === null) return { data: traces, ...moving };
  const plainLayout = plain(layout, 'layout', 'layout', inside, false);
  if (!isRecord(plainLayout))
    throw new InputError(`${describe(layout, 'layout')}; it is an object, such as { title: 'Loss' }`);
  return { data: traces, layout: plainLayout, ...moving };
}

function plainFrames(frames: unknown, inside: readonly object[]): object[] {
  if (!Array.isArray(frames))
    throw new InputError(
      `${describe(frames, 'frames')}; give a list of states: [{ name: '0.1', data: [{ y: [1, 2] }] }]`,
    );
  return frames.map((frame: unknown, n) => {
    const plainFrame = plain(frame, `frames[${n}]`, 'frame', [...inside, frames], false);
    if (!isRecord(plainFrame) || typeof plainFrame['name'] !== 'string')
      throw new InputError(`frames[${n}] has no name; a slider finds a state by it: { name: '0.1', data: […] }`);
    return plainFrame;
  });
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
function describe(value: unknown, path: string): string {
  if (value === undefined) return `${path} is missing`;
  if (value === null) return `${path} is null`;
  if (Array.isArray(value)) return `${path} is a list`;
  return `${path} is ${typeof value === 'object' ? 'an object' : `a ${typeof value}`}`;
}

/**
 * @param key the last part of the path, for the remedy.
 * @param inside the objects that contain the value.
 * @param own whether the value is the reader's own data, so that a `title` in it is left alone.
 */
function plain(value: unknown, path: string, key: string, inside: readonly object[], own: boolean): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (
    typeof value !== 'object' &&
    typeof value !== 'bigint' &&
    typeof value !== 'function' &&
    typeof value !== 'symbol'
  )
    return value; // a text, a boolean, undefined
  if (value === null) return null;
  const found = refusal(value, key);
  if (found !== undefined) throw new InputError(`${path} is ${found}`);
  const thing = value as object;
  if (inside.includes(thing))
    throw new InputError(`${path} is an object that it lies in itself, so it has no end; leave it out`);
  if (ArrayBuffer.isView(thing)) return typed(thing as unknown as Float32Array);
  if (types.isDate(thing)) return Number.isNaN(thing.getTime()) ? null : localTime(thing);
  const within = [...inside, thing];
  if (Array.isArray(thing))
    return Array.from(thing, (item: unknown, n) => plain(item, `${path}[${n}]`, key, within, own) ?? null);
  if ('toJSON' in thing && typeof thing.toJSON === 'function') return plain(thing.toJSON(key), path, key, within, own);
  return Object.fromEntries(
    Object.entries(thing).map(([name, inner]) => {
      const field = `${path}${/^[A-Za-z_$][\w$]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`}`;
      if (name === 'title' && !own && (typeof inner === 'string' || typeof inner === 'number'))
        return [name, { text: `${inner}` }];
      return [name, plain(inner, field, name, within, own || OWN.has(name))];
    }),
  );
}

/** Why a value cannot be drawn, and what to write instead; undefined if it can. */
function refusal(value: unknown, key: string): string | undefined {
  if (typeof value === 'bigint') return 'a BigInt, which plotly cannot draw; make it a number: Number(…)';
  if (typeof value === 'function') return 'a function, which JSON cannot carry to plotly; call it, and give its result';
  if (typeof value === 'symbol') return 'a Symbol, which JSON cannot carry to plotly; give a text';
  if (typeof value !== 'object' || value === null) return undefined;
  const name = /^[A-Za-z_$][\w$]*$/.test(key) ? key : 'values';
  if ('dataSync' in value && typeof value.dataSync === 'function')
    return tensor(value as { shape?: readonly number[] }, name);
  if ('then' in value && typeof value.then === 'function')
    return `a Promise, whose value is still to come; wait for it: await ${name}`;
  if (types.isBigInt64Array(value) || types.isBigUint64Array(value))
    return (
      `a ${types.isBigInt64Array(value) ? 'BigInt64Array' : 'BigUint64Array'}, which plotly cannot draw; make its ` +
      `values numbers: Array.from(${name}, Number)`
    );
  if (types.isMap(value))
    return `a Map, which JSON would leave empty; take its keys and values: [...${name}.keys()], [...${name}.values()]`;
  if (types.isSet(value)) return `a Set, which JSON would leave empty; make a list of it: [...${name}]`;
  if (types.isDataView(value) || types.isAnyArrayBuffer(value))
    return `bytes without a type; say what they are: new Float32Array(…)`;
  if (
    !Array.isArray(value) &&
    !ArrayBuffer.isView(value) &&
    'next' in value &&
    typeof value.next === 'function' &&
    (Symbol.iterator in value || Symbol.asyncIterator in value)
  )
    return (
      'an iterator, which JSON would leave empty; make a list of it: ' +
      `${Symbol.iterator in value ? `[...${name}]` : `for await (const item of ${name}) list.push(item)`}`
    );
  if (types.isRegExp(value) || types.isNativeError(value) || types.isWeakMap(value) || types.isWeakSet(value))
    return (
      `an object of kind ${Object.prototype.toString.call(value).slice(8, -1)}, which JSON would leave empty; give ` +
      'a text or a list'
    );
  return undefined;
}

function tensor({ shape = [] }: { shape?: readonly number[] }, name: string): string {
  const take = shape.length > 1 ? 'array' : 'data';
  return `a tensor of shape [${shape.join(', ')}]; take its values with await ${name}.${take}()`;
}

function typed(values: Float32Array): (number | null)[] {
  const written = values.BYTES_PER_ELEMENT === 4 && types.isFloat32Array(values) ? shortest : (value: number) => value;
  return Array.from(values, (value) => (Number.isFinite(value) ? written(value) : null));
}

/**
 * The decimal number with the fewest digits, at least six, that rounds to the same float32; nine digits always suffice.
 */
function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const written = Number(value.toPrecision(digits));
    if (Math.fround(written) === value) return written;
  }
  return Number(value.toPrecision(9));
}

/**
 * Formats a Date as local time: plotly.js shows a Date in the time zone where the code runs, and a text as it is
 * written.
 */
function localTime(date: Date): string {
  const two = (value: number, width = 2) => `${value}`.padStart(width, '0');
  const day = `${two(date.getFullYear(), 4)}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return (
    `${day} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`
  );
}

/** Shows figures and tables in the notebook whose cell is running. */
import { randomUUID } from 'node:crypto';

import { InputError, SetupError } from '../errors';
import type { Figure } from './figure';
import { figureImage } from './image';
import { plainFigure, type PlainFigure } from './plainFigure';
import { TEMPLATE } from './style';

/** A piece of HTML, and the text that replaces it where HTML cannot be shown. */
export interface Html {
  readonly html: string;
  readonly text: string;
}

/** One output in several forms, keyed by MIME type. The front end draws the richest form that it supports. */
export interface Content {
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: object;
}

type WriteDisplayData = (output: Content & { transient: object }, update: boolean) => void;

/**
 * Shows HTML, such as a `tokenTable`, or a figure with its text: the figure as one output in three forms: as an image,
 * which plotly.js made of it (`figureImage` says what it needs); for plotly, which JupyterLab draws as soon as the
 * pointer comes to the image, and at once where there is none; and `text`, which is read out for the image and stands
 * in for it: say in it what the figure shows. A figure without a `template` gets the style of all others.
 *
 *     show({ data: [{ type: 'scatter', y: losses.dataSync() }], layout: { title: 'Loss', yaxis: { title: 'nats' } } },
 * 'The loss falls.');
 *
 * Lists may be typed arrays; NaN is a gap; a title may be its text alone (`plainFigure` says what becomes of each
 * value).
 *
 * @param text of a figure, which it must have; HTML has its own. (As two signatures, the compiler would say of a figure
 *   alone that it is no HTML.)
 * @throws InputError if a figure has no text, or, with the field's name, if a value cannot be drawn (a tensor, a
 *   Promise, …) or plotly has no trace of that type.
 * @throws SetupError outside a notebook.
 */
export function show(shown: Figure | Html, text?: string): void {
  const write = kernelOutput();
  if (!write) throw new SetupError('show draws in a notebook, under the tslab kernel');
  if (typeof shown !== 'object' || shown === null)
    throw new InputError(
      `show was given ${shown === null ? 'null' : `a value of type ${typeof shown}`}; give it a figure, { data: ` +
        '[{ y: [1, 2, 3] }] }, or HTML',
    );
  if (!('html' in shown) && text === undefined)
    throw new InputError(
      "show's second argument is missing: a sentence that says what the figure shows, for whoever does not see " +
        "it, as in show(figure, 'The loss falls.')",
    );
  const content =
    'html' in shown
      ? { data: { 'text/html': shown.html, 'text/plain': shown.text }, metadata: {} }
      : figureContent(shown, text!);
  write({ ...content, transient: {} }, false);
}

export function figureContent(figure: Figure, text: string): Content {
  const plain = styled(figure);
  const { data, metadata } = pictured(plain, text);
  return { data: { 'application/vnd.plotly.v1+json': plain, ...data }, metadata };
}

/** A figure that changes soon. */
export const imageContent = (figure: Figure, text: string): Content => pictured(styled(figure), text);

function pictured(plain: PlainFigure, text: string): Content {
  const image = figureImage(plain);
  return image === undefined
    ? { data: { 'text/plain': text }, metadata: {} }
    : { data: { 'image/png': image, 'text/plain': text }, metadata: { 'image/png': { alt: text } } };
}

function styled(figure: Figure): PlainFigure {
  const { data, layout } = plainFigure(figure);
  return { data, layout: { template: TEMPLATE, ...layout } };
}

/**
 * An output of the running cell whose content can be replaced, by the same function again.
 *
 * @returns undefined outside a notebook.
 */
export function liveOutput(): ((content: Content) => void) | undefined {
  const write = kernelOutput(); // of this cell: the output stays its own while other cells run
  if (!write) return undefined;
  const transient = { display_id: randomUUID() };
  let shown = false;
  return (content) => {
    write({ ...content, transient }, shown);
    shown = true;
  };
}

/**
 * tslab's own `display` writes one mime type an output; the function behind it, in its running instance, takes several.
 */
function kernelOutput(): WriteDisplayData | undefined {
  const jupyter = Object.values(require.cache).find((module) =>
    /[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(module?.filename ?? ''),
  );
  const { lastWriteDisplayData } = (jupyter?.exports ?? {}) as { lastWriteDisplayData?: WriteDisplayData | null };
  return lastWriteDisplayData ?? undefined;
}

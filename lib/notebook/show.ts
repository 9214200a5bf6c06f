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
 * Shows HTML, such as a `tokenTable`, or a figure with its text. A figure is one output in three forms: an image made
 * by plotly.js (see `figureImage` for what it needs); data for plotly, which JupyterLab draws once the pointer reaches
 * the image, or immediately if there is no image; and `text`, which screen readers read for the image and which
 * replaces it where there is none. Say in `text` what the figure shows. A figure without a `template` gets the common
 * style.
 *
 *     const layout = { title: 'Loss', yaxis: { title: 'nats' } };
 *     show({ data: [{ type: 'scatter', y: losses.dataSync() }], layout }, 'The loss falls.');
 *
 * A figure with `frames` moves: sliders and buttons of its layout show one frame or another, in JupyterLab and in the
 * book, without the kernel; the image shows the first state.
 *
 * Lists may be typed arrays; NaN is a gap; a title may be a plain string (see `plainFigure` for the treatment of each
 * value).
 *
 * @param text required for a figure; HTML has its own. (If `show` had two signatures, the compiler's message for a
 *   figure without a text would be that it is not HTML.)
 * @throws InputError if a figure has no text, or, naming the field, if a value cannot be drawn (a tensor, a Promise, …)
 *   or plotly has no trace of that type.
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

/** The content for a figure that will soon be replaced: the image and text only. */
export const imageContent = (figure: Figure, text: string): Content => pictured(styled(figure), text);

function pictured(plain: PlainFigure, text: string): Content {
  const image = figureImage(plain);
  return image === undefined
    ? { data: { 'text/plain': text }, metadata: {} }
    : { data: { 'image/png': image, 'text/plain': text }, metadata: { 'image/png': { alt: text } } };
}

function styled(figure: Figure): PlainFigure {
  const { layout, ...rest } = plainFigure(figure);
  return { ...rest, layout: { template: TEMPLATE, ...layout } };
}

/**
 * Creates an output of the running cell. Each call of the returned function replaces its content.
 *
 * @returns undefined outside a notebook.
 */
export function liveOutput(): ((content: Content) => void) | undefined {
  const write = kernelOutput(); // belongs to this cell, even while other cells run
  if (!write) return undefined;
  const transient = { display_id: randomUUID() };
  let shown = false;
  return (content) => {
    write({ ...content, transient }, shown);
    shown = true;
  };
}

/**
 * Finds the function behind tslab's `display` in the running instance: `display` writes one MIME type per output, this
 * function several.
 */
function kernelOutput(): WriteDisplayData | undefined {
  const jupyter = Object.values(require.cache).find((module) =>
    /[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(module?.filename ?? ''),
  );
  const { lastWriteDisplayData } = (jupyter?.exports ?? {}) as { lastWriteDisplayData?: WriteDisplayData | null };
  return lastWriteDisplayData ?? undefined;
}

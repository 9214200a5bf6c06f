/** Shows figures and tables in the notebook whose cell is running. */
import { randomUUID } from 'node:crypto';

import { SetupError } from '../errors';
import { figureImage } from './image';
import { TEMPLATE } from './style';

/** A plotly figure: plain data, as plotly.js takes it (https://plotly.com/javascript/reference/). */
export interface Figure {
  readonly data: readonly object[];
  readonly layout?: object;
}

/** A piece of HTML, and the text that stands in for it wherever there is no HTML. */
export interface Html {
  readonly html: string;
  readonly text: string;
}

/** One output, in several forms by mime type, of which the front end draws the richest that it can. */
export interface Content {
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: object;
}

type WriteDisplayData = (output: Content & { transient: object }, update: boolean) => void;

/**
 * Shows `figure` as one output in three forms: as an image, which plotly.js made of it (`figureImage` says what it needs); for plotly,
 * which JupyterLab draws as soon as the pointer comes to the image, and at once where there is none; and `text`, which is read out
 * for the image and stands in for it: say in it what the figure shows. A figure without a `template` gets the style of all others.
 *
 * @throws SetupError outside a notebook.
 */
export function show(figure: Figure, text: string): void;
/** Shows HTML, such as a `tokenTable`, with its text. */
export function show(page: Html): void;
export function show(shown: Figure | Html, text = ''): void {
  const write = kernelOutput();
  if (!write) throw new SetupError('show draws in a notebook, under the tslab kernel');
  const content = 'html' in shown ? { data: { 'text/html': shown.html, 'text/plain': shown.text }, metadata: {} } : figureContent(shown, text);
  write({ ...content, transient: {} }, false);
}

export function figureContent(figure: Figure, text: string): Content {
  const { data, metadata } = imageContent(figure, text);
  return { data: { 'application/vnd.plotly.v1+json': styled(figure), ...data }, metadata };
}

/** A figure that changes soon. */
export function imageContent(figure: Figure, text: string): Content {
  const image = figureImage(styled(figure));
  return image === undefined ? { data: { 'text/plain': text }, metadata: {} } : { data: { 'image/png': image, 'text/plain': text }, metadata: { 'image/png': { alt: text } } };
}

const styled = ({ data, layout }: Figure): Figure => ({ data, layout: { template: TEMPLATE, ...layout } });

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

/** tslab's own `display` writes one mime type an output; the function behind it, in its running instance, takes several. */
function kernelOutput(): WriteDisplayData | undefined {
  const jupyter = Object.values(require.cache).find((module) => /[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(module?.filename ?? ''));
  const { lastWriteDisplayData } = (jupyter?.exports ?? {}) as { lastWriteDisplayData?: WriteDisplayData | null };
  return lastWriteDisplayData ?? undefined;
}

/**
 * A figure as a still image, made by plotly.js-dist itself, so that it shows where plotly does not run: on GitHub, on a
 * page that nbconvert made, in a notebook that JupyterLab does not trust and has no plotly for.
 *
 * plotly.js draws in a browser. Kaleido 0.2.1 (PyPI) is one without windows, which set-up installs beside JupyterLab;
 * the kernel says where, in ALIGNBOOK_KALEIDO. sharp makes the image small, and synckit waits for it: it belongs to the
 * output of the cell that runs.
 */
import { join } from 'node:path';

import { createSyncFn } from 'synckit';

import type { PlainFigure } from './plainFigure';

/**
 * Pixels. JupyterLab cuts off what is wider than its cell, on a small screen about so much; the height is plotly's own.
 */
const WIDTH = 720;
const HEIGHT = 450;

export interface ImageRequest {
  readonly kaleido: string;
  readonly figure: PlainFigure;
  readonly width: number;
  readonly height: number;
}

let drawImage: ((request: ImageRequest) => string) | undefined;

/**
 * Waits for the image: a second or two for the first, a tenth of one for those that follow.
 *
 * @returns a PNG in base64; undefined if kaleido is missing, or if it fails, which is reported on standard error.
 */
export function figureImage(figure: PlainFigure): string | undefined {
  const kaleido = process.env['ALIGNBOOK_KALEIDO'];
  if (kaleido === undefined) return undefined;
  const { height = HEIGHT } = (figure.layout ?? {}) as { height?: number };
  try {
    drawImage ??= createSyncFn<(request: ImageRequest) => Promise<string>>(join(__dirname, 'imageWorker.js'));
    return drawImage({ kaleido, figure, width: WIDTH, height });
  } catch (error) {
    console.error(`this figure has no image, and shows only where plotly runs: ${(error as Error).message}`);
    return undefined;
  }
}

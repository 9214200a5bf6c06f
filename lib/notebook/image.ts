/**
 * Renders a figure as a still image, using plotly.js-dist itself, for places where plotly does not run: GitHub, a page
 * made by nbconvert, or a notebook that JupyterLab does not trust and has no plotly for.
 *
 * plotly.js draws in a browser. Kaleido 0.2.1 (PyPI) is a browser without windows, which set-up installs beside
 * JupyterLab; the kernel gives its location in ALIGNBOOK_KALEIDO. sharp compresses the image. synckit waits for it,
 * since it belongs to the output of the running cell.
 */
import { join } from 'node:path';

import { createSyncFn } from 'synckit';

import type { PlainFigure } from './plainFigure';

/** In pixels. On a small screen, JupyterLab cuts off images wider than about this; the height is plotly's default. */
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
 * Waits for the image: a second or two for the first, a tenth of a second for later ones.
 *
 * @returns a PNG in base64; undefined if kaleido is missing or fails. A failure is reported on standard error.
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

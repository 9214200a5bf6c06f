/**
 * A figure as a still image, made by plotly.js-dist itself, so that it shows where plotly does not run: on GitHub, on a page that
 * nbconvert made, in a notebook that JupyterLab does not trust and has no plotly for.
 *
 * plotly.js draws in a browser. Kaleido 0.2.1 (PyPI) is one without windows, which set-up installs beside JupyterLab; the kernel
 * says where, in ALIGNBOOK_KALEIDO. sharp makes the image small.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import type { Figure } from './show';

/** Pixels. JupyterLab cuts off what is wider than its cell, on a small screen about so much; the height is plotly's own. */
const WIDTH = 720;
const HEIGHT = 450;
const MILLISECONDS = 30_000;

export interface ImageRequest {
  readonly figure: Figure;
  readonly width: number;
  readonly height: number;
}

/**
 * Waits for the image, a second or two: it belongs to the output of the cell that runs.
 *
 * @returns a PNG in base64; undefined where there is no kaleido, or it fails.
 */
export function figureImage(figure: Figure): string | undefined {
  if (process.env['ALIGNBOOK_KALEIDO'] === undefined) return undefined;
  const { height = HEIGHT } = (figure.layout ?? {}) as { height?: number };
  const request: ImageRequest = { figure, width: WIDTH, height };
  const { status, stdout } = spawnSync(process.execPath, [join(__dirname, 'imageWorker.js')], { input: JSON.stringify(request), encoding: 'utf8', timeout: MILLISECONDS });
  return status === 0 && stdout !== '' ? stdout : undefined;
}

/** The process behind `figureImage`: a request on the standard input, the image on the standard output. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import sharp from 'sharp';

import type { ImageRequest } from './image';

/** Lines and text of a few colours, with their smooth edges. */
const COLOURS = 64;

async function main(): Promise<void> {
  const { figure, width, height } = JSON.parse(readFileSync(0, 'utf8')) as ImageRequest;
  const kaleido = process.env['ALIGNBOOK_KALEIDO']!;
  const args = ['plotly', `--plotlyjs=${require.resolve('plotly.js-dist')}`, '--disable-gpu', '--no-sandbox', '--allow-file-access-from-files', '--disable-breakpad', '--disable-dev-shm-usage'];
  const env = { ...process.env, LD_LIBRARY_PATH: join(kaleido, 'lib'), FONTCONFIG_PATH: join(kaleido, 'etc', 'fonts'), XDG_DATA_HOME: join(kaleido, 'xdg') };
  const input = `${JSON.stringify({ data: figure, format: 'png', width, height, scale: 1 })}\n`;
  // Not its shell script, which stumbles over a space in a folder's name.
  const { stdout, stderr, error } = spawnSync(join(kaleido, 'bin', 'kaleido'), args, { input, cwd: kaleido, env, encoding: 'utf8', maxBuffer: 2 ** 27 });
  if (error) throw error;
  const answer = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { result: string | null; message: string | null };
  if (answer.result === null) throw new Error(answer.message ?? stderr);
  const image = await sharp(Buffer.from(answer.result, 'base64')).png({ palette: true, colours: COLOURS, dither: 0, compressionLevel: 9, effort: 10 }).toBuffer();
  process.stdout.write(image.toString('base64'));
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});

/** The worker thread of `figureImage`. It keeps kaleido running for later figures. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import sharp from 'sharp';
import { runAsWorker } from 'synckit';

import type { ImageRequest } from './image';

/** Fewer would merge the colors of curves whose bands lie on each other. */
const COLOURS = 256;
/** In seconds. A cold start on a busy machine is slow. */
const ANSWERS_WITHIN = 60;
/** Kaleido, a Chromium of 2020, now and then hangs at its start, or is the first to go where memory is short. */
const TRIES = 4;
/** Milliseconds between two tries. */
const PAUSE = 1000;
/** Milliseconds without a figure after which kaleido's 200 MB are released. */
const KEPT_FOR = 20_000;

let running: Kaleido | undefined;
let idle: NodeJS.Timeout | undefined;

runAsWorker(async (request: ImageRequest): Promise<string> => {
  clearTimeout(idle);
  const { result, message } = await patientAnswer(request);
  idle = setTimeout(() => running?.stop(), KEPT_FOR);
  if (result === null) throw new Error(message ?? 'kaleido does not say why');
  const image = await sharp(Buffer.from(result, 'base64'))
    .png({ palette: true, colours: COLOURS, dither: 0, compressionLevel: 9, effort: 10 })
    .toBuffer();
  return image.toString('base64');
});

interface Answer {
  /** The image in base64, or null and a message. */
  readonly result: string | null;
  readonly message: string | null;
}

/** @throws Error if kaleido cannot be started, or if at each of the tries a new one ends or takes too long. */
async function patientAnswer(request: ImageRequest): Promise<Answer> {
  for (let left = TRIES - 1; ; left--) {
    try {
      return await answer(request);
    } catch (error) {
      if (left === 0 || (error as NodeJS.ErrnoException).code !== undefined) throw error;
      await sleep(PAUSE);
    }
  }
}

/** @throws Error if kaleido ends or takes too long. */
async function answer({ kaleido, figure, width, height }: ImageRequest): Promise<Answer> {
  running ??= new Kaleido(kaleido, () => {
    running = undefined;
  });
  return JSON.parse(
    await running.ask(JSON.stringify({ data: figure, format: 'png', width, height, scale: 1 })),
  ) as Answer;
}

/** The kaleido process. It answers each line with one line. */
class Kaleido {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #greeting: Promise<string>;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<never>;
  #late = false;

  constructor(folder: string, onEnd: () => void) {
    const args = [
      'plotly',
      `--plotlyjs=${require.resolve('plotly.js-dist')}`,
      '--disable-gpu',
      '--no-sandbox',
      '--allow-file-access-from-files',
      '--disable-breakpad',
      '--disable-dev-shm-usage',
    ];
    const env = {
      ...process.env,
      LD_LIBRARY_PATH: join(folder, 'lib'),
      FONTCONFIG_PATH: join(folder, 'etc', 'fonts'),
      XDG_DATA_HOME: join(folder, 'xdg'),
    };
    // Start the program rather than its shell script, which fails on a space in a folder's name. Detach it, so that an
    // interrupt of the kernel does not end it.
    this.#process = spawn(join(folder, 'bin', 'kaleido'), args, { cwd: folder, env, detached: true });
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
    let complaint = '';
    this.#process.stderr.on('data', (text: Buffer) => {
      complaint = text.toString().trim();
    });
    this.#process.stdin.on('error', () => {}); // it has ended; `#ended` reports that
    this.#ended = new Promise((_, reject) => {
      this.#process.on('error', reject);
      this.#process.on('close', (code, signal) => {
        const what = this.#late ? `gave no answer within ${ANSWERS_WITHIN} s` : `ended (${signal ?? code})`;
        reject(new Error(`kaleido ${what}: ${complaint}`));
      });
    });
    this.#ended.catch(onEnd);
    this.#greeting = this.#line();
  }

  async ask(question: string): Promise<string> {
    const limit = setTimeout(() => {
      this.#late = true;
      this.stop();
    }, ANSWERS_WITHIN * 1000);
    try {
      await this.#greeting;
      this.#process.stdin.write(`${question}\n`);
      return await this.#line();
    } finally {
      clearTimeout(limit);
    }
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }

  async #line(): Promise<string> {
    const { value, done } = await Promise.race([this.#lines.next(), this.#ended]);
    return done ? this.#ended : value;
  }
}

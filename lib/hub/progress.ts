/** The progress of a download, and the bar that shows it. */

export interface DownloadProgress {
  /** File name, such as `model.safetensors`. */
  readonly file: string;
  /** Bytes received, including those of an earlier attempt. */
  readonly received: number;
  /** Size in bytes; null if the hub does not state it. */
  readonly total: number | null;
  /** Why nothing is arriving: a reconnection, or another process that is downloading the file. */
  readonly pause?: string;
}

export type OnProgress = (progress: DownloadProgress) => void;

/** The members of process.stderr that are used here. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Files smaller than this, in bytes, finish before anyone could read a bar. */
const SMALL = 5_000_000;

/** Milliseconds between two updates of a terminal, or between two lines elsewhere (a log). */
const EVERY = { terminal: 100, log: 10_000 };

/**
 * Shows progress: a bar that is redrawn in place on a terminal, or a line now and then elsewhere. A small file is shown
 * only if its download pauses.
 *
 *     model.safetensors  45% [#########           ] 247 / 548 MB  12.3 MB/s  0:24 left
 *
 * @param now a monotonic clock, in milliseconds.
 */
export function progressPrinter(stream: ProgressStream, now: () => number = () => performance.now()): OnProgress {
  let current = { file: '', start: 0, from: 0, printed: -Infinity, pause: '' };
  return ({ file, received, total, pause = '' }) => {
    const time = now();
    if (file !== current.file) current = { file, start: time, from: received, printed: -Infinity, pause: '' };
    const done = received === total;
    const paused = pause !== '' && pause !== current.pause;
    current.pause = pause;
    if (pause !== '' && !paused) return;
    if (!paused && (total ?? received) < SMALL) return;
    const every = stream.isTTY ? EVERY.terminal : EVERY.log;
    if (!done && !paused && time - current.printed < every) return;
    current.printed = time;

    const seconds = (time - current.start) / 1000;
    const speed = seconds > 0 ? (received - current.from) / seconds : 0;
    const line = pause === '' ? progressLine(file, received, total, speed, done) : `${file}  ${pause}`;
    if (!stream.isTTY) return void stream.write(`${line}\n`);
    const width = Math.max(20, stream.columns ?? 80) - 1;
    stream.write(`\r${line.slice(0, width).padEnd(width)}${done || paused ? '\n' : ''}`);
  };
}

/**
 * A bar on stderr where a person sees it: on a terminal, but not in a notebook. In a notebook, too, stderr may be a
 * terminal, since JupyterLab passes its own on; but tslab's kernel replaces `write`, and whatever is written there
 * appears in red in the cell.
 */
export function defaultProgress(): OnProgress {
  const inNotebook = Object.hasOwn(process.stderr, 'write');
  return process.stderr.isTTY && !inNotebook ? progressPrinter(process.stderr) : () => {};
}

const BAR = 20; // characters

/** @param speed in bytes per second. */
function progressLine(file: string, received: number, total: number | null, speed: number, done: boolean): string {
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
  const rate = `${(speed / 1e6).toFixed(1)} MB/s`;
  if (total === null) return `${file}  ${megabytes(received)} MB  ${rate}`;
  const percent = `${Math.floor((100 * received) / total)}%`.padStart(4);
  const left = done || speed === 0 ? '' : `  ${minutes((total - received) / speed)} left`;
  return (
    `${file} ${percent} [${bar(received / total)}] ` + `${megabytes(received)} / ${megabytes(total)} MB  ${rate}${left}`
  );
}

/** The inside of a bar, for a fraction from 0 to 1. */
export function bar(share: number): string {
  const filled = Math.floor(share * BAR);
  return `${'#'.repeat(filled)}${' '.repeat(BAR - filled)}`;
}

/** A time as minutes and seconds, such as 0:16 or 75:02. */
export function minutes(seconds: number): string {
  const whole = Math.ceil(seconds);
  return `${Math.floor(whole / 60)}:${`${whole % 60}`.padStart(2, '0')}`;
}

/** Turns a cell's writes to a stream into messages: well-formed, in order, and limited in number. */
import { StringDecoder } from 'node:string_decoder';

/** The limits per cell, in characters and in writes. More would fill the notebook's file and stall JupyterLab. */
const MOST = { characters: 4_000_000, writes: 50_000 };

export type Stream = 'stdout' | 'stderr';

/** A stream's `write` for one cell, with the signature of Node's. */
export class CellOutput {
  readonly #send: (stream: Stream, text: string) => void;
  readonly #decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') };
  readonly #leftOut = { stdout: 0, stderr: 0 };
  #characters = 0;
  #writes = 0;

  constructor(send: (stream: Stream, text: string) => void) {
    this.#send = send;
  }

  writeTo(stream: Stream): typeof process.stdout.write {
    return (chunk: string | Uint8Array, encoding?: unknown, callback?: unknown): boolean => {
      this.#write(stream, typeof chunk === 'string' ? chunk : this.#decoders[stream].write(Buffer.from(chunk)));
      const done = [encoding, callback].find((each) => typeof each === 'function') as (() => void) | undefined;
      if (done) process.nextTick(done);
      return true;
    };
  }

  #write(stream: Stream, text: string): void {
    const room = this.#writes < MOST.writes ? MOST.characters - this.#characters : 0;
    const passed = text.length <= room ? text : text.slice(0, room);
    this.#leftOut[stream] += text.length - passed.length;
    if (passed === '') return;
    this.#characters += passed.length;
    this.#writes += 1;
    this.#send(stream, passed);
  }

  /** Reports what was left out, once the cell has ended. */
  end(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      const left = this.#leftOut[stream];
      if (left > 0)
        this.#send(
          stream,
          `\n… ${left} more characters of the cell were left out: its output is cut after ${MOST.characters} ` +
            `characters, or ${MOST.writes} writes; write much to a file\n`,
        );
      this.#leftOut[stream] = 0;
    }
  }
}

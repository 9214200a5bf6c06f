/** The lines of a conversation: typed at a terminal, with editing and history, or from a pipe. */
import { createInterface } from 'node:readline';

export interface TypedLines {
  /** The next line; undefined once there are no more, or the person wants to end. */
  next(): Promise<string | undefined>;
  /** Says that Ctrl-C has stopped an answer, so that at the next prompt one more ends the conversation. */
  stopped(): void;
}

/** Each line of the standard input. */
export function pipedLines(): TypedLines {
  const lines = createInterface({ input: process.stdin, crlfDelay: Infinity })[Symbol.asyncIterator]();
  return {
    next: async () => {
      const { done, value } = await lines.next();
      return done ? undefined : value;
    },
    stopped: () => undefined,
  };
}

export const HINT = '(Ctrl-C again ends; so do Ctrl-D and /exit)';
const PROMPT = '> ';

/**
 * Lines typed after a prompt. Between two calls of `next` the terminal is not in raw mode: Ctrl-C is a signal then, and
 * what is typed ahead waits for the next call. Ctrl-C clears a line; at an empty prompt it ends the conversation when
 * pressed twice.
 */
export function terminalLines(): TypedLines {
  /** Lines that were pasted together with the one before, and the beginning of one after them. */
  const pasted: string[] = [];
  let begun = '';
  let history: string[] = [];
  let isLast = false; // whether the next Ctrl-C ends
  const read = (): Promise<string | undefined> =>
    new Promise((resolve) => {
      const { stdin, stdout } = process;
      const reader = createInterface({ input: stdin, output: stdout, prompt: PROMPT, history, terminal: true });
      const lines: string[] = [];
      reader.on('history', (all) => (history = [...all]));
      reader.on('line', (line) => {
        lines.push(line);
        isLast = false;
        if (lines.length === 1) setImmediate(() => reader.close()); // the rest of a paste comes before that
      });
      reader.on('SIGINT', () => {
        if (reader.line === '') {
          if (isLast) return reader.close();
          isLast = true;
          stdout.write(`\n${HINT}\n`);
          return reader.prompt();
        }
        isLast = false;
        reader.write(null, { ctrl: true, name: 'e' });
        reader.write(null, { ctrl: true, name: 'u' });
        return undefined;
      });
      reader.on('close', () => {
        if (lines.length === 0) stdout.write('\n');
        begun = lines.length === 0 ? '' : reader.line;
        pasted.push(...lines);
        resolve(pasted.shift());
      });
      reader.prompt();
      reader.write(begun);
    });
  return {
    next: async () => {
      const line = pasted.shift();
      if (line === undefined) return read();
      process.stdout.write(`${PROMPT}${line}\n`);
      return line;
    },
    stopped: () => (isLast = true),
  };
}

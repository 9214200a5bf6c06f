/** A cell's failure -> Jupyter's `error`: a name, a message, and a traceback that shows the reader's lines. */
import { inspect } from 'node:util';

import { excerpt, nameOf, type Cell, type CompiledCell } from './compiled';

export interface Failure {
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];
}

/** A message of tslab's compiler about a cell; lines and columns count from 0, in the cell as written. */
export interface Diagnostic {
  readonly start: { readonly line: number; readonly character: number };
  readonly end: { readonly line: number; readonly character: number };
  readonly messageText: string;
  /** The file, if it is not the cell. */
  readonly fileName?: string;
}

/** Advice that a reader of notebooks can follow. */
function hintsFor(diagnostics: readonly Diagnostic[]): string[] {
  const named = (pattern: RegExp) => [
    ...new Set(diagnostics.flatMap(({ messageText }) => pattern.exec(messageText)?.[1] ?? [])),
  ];
  const names = named(/^Cannot find name '([^']+)'\.$/);
  const packages = named(/^Cannot find module '([^'./][^']*)' or its corresponding type declarations\.$/);
  return [
    ...(names.length === 0
      ? []
      : [
          `No cell that has run declares ${names.join(', ')}: run the ` +
            `${names.length === 1 ? 'cell that does' : 'cells that do'} first.`,
        ]),
    ...(packages.length === 0
      ? []
      : [
          `To install what is missing, for all notebooks: npm install ${packages.join(' ')}, in the project's ` +
            'folder; then restart the kernel.',
        ]),
  ];
}

const RED = '\x1b[31m';
const PLAIN = '\x1b[39m';

export function compileFailure({ count, written }: Cell, diagnostics: readonly Diagnostic[]): Failure {
  const traceback = diagnostics.flatMap(({ start, end, messageText, fileName }) => {
    const place = { line: start.line + 1, column: start.character + 1 };
    const head = `${RED}${fileName ?? nameOf(count)}:${place.line}:${place.column}${PLAIN} - ${messageText}`;
    if (fileName !== undefined) return [head];
    const width = end.line === start.line ? end.character - start.character : Infinity;
    return [head, ...excerpt(written, place, width)];
  });
  const hints = hintsFor(diagnostics);
  return {
    ename: 'CompileError',
    evalue: diagnostics[0]!.messageText,
    traceback: hints.length === 0 ? traceback : [...traceback, '', ...hints],
  };
}

/** @param compiled the cells that ran, by number. */
export function thrownFailure(thrown: unknown, compiled: ReadonlyMap<number, CompiledCell>, root: string): Failure {
  try {
    return shownFailure(thrown, compiled, root);
  } catch (error) {
    // Its message or its stack may be a getter that throws, for example.
    const evalue = `what was thrown cannot be shown: ${error instanceof Error ? error.message : typeof error}`;
    return { ename: 'Thrown', evalue, traceback: [`${RED}${evalue}${PLAIN}`] };
  }
}

function shownFailure(thrown: unknown, compiled: ReadonlyMap<number, CompiledCell>, root: string): Failure {
  if (isInterrupt(thrown))
    return { ename: 'Interrupted', evalue: 'the cell was interrupted', traceback: [`${RED}Interrupted${PLAIN}`] };
  let innermost: string[] | undefined; // the reader's lines around the place where it was thrown
  const lines = inspect(thrown)
    .split('\n')
    .flatMap((line) => {
      const found = FRAME.exec(line);
      const cell = found && compiled.get(Number(found[1]));
      const place = found && cell?.written({ line: Number(found[2]), column: Number(found[3]) });
      // the error's own fields follow
      if (found ? !place : OF_KERNEL.test(line)) return line.endsWith(' {') ? ['    {'] : [];
      if (!found || !cell || !place) return [bare(line.replaceAll(`${root}/`, ''))];
      innermost ??= ['', ...excerpt(cell.cell.written, place), ''];
      return [
        line.replace(found[0], `${nameOf(cell.cell.count)}:${place.line}:${place.column}`).replace('at Proxy.', 'at '),
      ];
    });
  const frame = lines.findIndex((line) => /^\s+at /.test(line));
  const frames = frame < 0 ? lines.length : frame;
  return {
    ...nameAndMessage(thrown),
    traceback: [`${RED}${lines[0]}${PLAIN}`, ...lines.slice(1, frames), ...(innermost ?? []), ...lines.slice(frames)],
  };
}

const FRAME = /(?<=^\s+at .*)In \[(\d+)\]:(\d+):(\d+)/;
/** A stack line that belongs to the way from the kernel to the cell. */
const OF_KERNEL = /^\s+at .*(node:vm|node:internal|\/tslab\/dist\/|\/scripts\/kernel\/)/;

/** A name from an earlier cell, as it was written: tslab and names.ts read it from an object. */
const bare = (text: string): string =>
  text.replace(
    /\(0 ?, ?exports\.([\w$]+)\)|\bexports\.([\w$]+)/g,
    (_, called?: string, read?: string) => called ?? read!,
  );

function nameAndMessage(thrown: unknown): { ename: string; evalue: string } {
  if (!(thrown instanceof Error) && !(typeof thrown === 'object' && thrown !== null && 'stack' in thrown))
    return { ename: 'Thrown', evalue: inspect(thrown) };
  const { name, message } = thrown as Error;
  return { ename: String(name), evalue: bare(String(message)) };
}

const isInterrupt = (thrown: unknown): boolean =>
  thrown instanceof Error &&
  ((thrown as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED' ||
    thrown.message === 'Interrupted asynchronously');

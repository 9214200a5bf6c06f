/** The commands and code fences that the documents print for a reader to run, each with its place. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

import { notebookNames } from '../scripts/notebooks/execute';
import { readNotebook } from '../scripts/notebooks/notebook';
import { root } from '../scripts/paths';

export interface Fence {
  /** "sh", "ts", …; empty if the fence names no language. */
  readonly language: string;
  readonly text: string;
  /** The document, and the first line of the fence. */
  readonly where: string;
  readonly document: string;
  /** The file named by the sentence before the fence, if that ends in a colon: `reward.js`. */
  readonly file: string | undefined;
}

export interface Command {
  readonly text: string;
  readonly where: string;
  readonly document: string;
}

interface Part {
  readonly document: string;
  readonly text: string;
  readonly code: boolean;
}

function markdownFiles(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      const others = ['node_modules', 'runs', 'executed', 'book', 'findings', 'dist'];
      if (name.startsWith('.') || [...others, 'solutions'].includes(name)) return [];
      return statSync(path).isDirectory() ? markdownFiles(path) : name.endsWith('.md') ? [path] : [];
    });
}

/**
 * All Markdown files of the project except findings/ and solutions/ (which tests/exercises.test.ts runs), and the cells
 * of the notebooks.
 */
function parts(): Part[] {
  const files = markdownFiles(root).map((path) => ({
    document: relative(root, path),
    text: readFileSync(path, 'utf8'),
    code: false,
  }));
  const notebooks = notebookNames().flatMap((name) =>
    readNotebook(join(root, 'notebooks', name)).cells.map((cell) => ({
      document: `notebooks/${name}`,
      text: cell.source,
      code: cell.cell_type === 'code',
    })),
  );
  return [...files, ...notebooks];
}

const FENCE = /^```(\w*)\n([^]*?)^```/gm;
const RUNNABLE = /(?:^|\s)(?:npx alignbook|npm (?:run|test))\b/;

export function printedFences(): Fence[] {
  return parts()
    .filter(({ code }) => !code)
    .flatMap(({ document, text }) =>
      [...text.matchAll(FENCE)].map((found) => {
        const before = text.slice(0, found.index).trimEnd();
        return {
          language: found[1]!,
          text: found[2]!,
          document,
          where: `${document}, ${JSON.stringify(found[2]!.split('\n')[0]!.slice(0, 60))}`,
          file: /`([\w.-]+\.(?:jsonl?|m?js))`[^`\n]*:$/.exec(before)?.[1],
        };
      }),
    );
}

/**
 * Lines for the shell: with continued lines joined and comments removed; from an untagged fence, only the lines after
 * "$ ".
 */
export function printedCommands(): Command[] {
  const fenced = printedFences().flatMap(({ language, text, document, where }) => {
    if (language !== 'sh' && language !== '') return [];
    const lines = text
      .replace(/\\\n\s*/g, ' ')
      .split('\n')
      .map((line) => (language === 'sh' ? line : line.startsWith('$ ') ? line.slice(2) : ''));
    return lines
      .map((line) => line.replace(/\s+#.*$|^#.*$/, '').trim())
      .filter((line) => line !== '')
      .map((line) => ({ text: line, where, document }));
  });
  const inline = parts().flatMap(({ document, text, code }) => {
    const spans = code
      ? [...text.matchAll(/\b((?:npx alignbook|npm run|npm test)[ \w:.-]*)/g)]
      : [...text.replace(FENCE, '').matchAll(/`([^`\n]+)`/g)];
    return spans
      .map(([, span]) => span!.trim())
      .filter((span) => RUNNABLE.test(span) && !/npm run(?: |$)makes/.test(span))
      .map((span) => ({
        text: code ? span.replace(/ makes it.*$/, '') : span,
        document,
        where: `${document}, \`${span}\``,
      }));
  });
  return [...fenced, ...inline];
}

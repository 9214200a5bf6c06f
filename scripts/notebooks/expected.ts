/**
 * tests/expected/NN-name.json: what the code cells of one notebook print.
 *
 *     {"notebook": "01-tokenize.ipynb", "tolerance"?: …, "cells": {"<cell id>": {"any": text} | …}}
 *
 * A cell's text is under `any`, for every model, or under the names of models (`tiny`, and `gpt2` if it is known). The
 * file and each cell may state a tolerance; the cell's takes precedence. The text of a table that a cell shows
 * counts as printed.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

import { compareText, type Tolerance } from './compare';
import { cellName, printedAndShown, type Notebook } from './notebook';

export interface ExpectedCell {
  readonly any?: string;
  readonly tiny?: string;
  readonly gpt2?: string;
  readonly tolerance?: Tolerance;
}

export interface Expected {
  readonly notebook: string;
  readonly tolerance?: Tolerance;
  readonly cells: Readonly<Record<string, ExpectedCell>>;
}

const models = ['tiny', 'gpt2'] as const;

/** For float32 arithmetic in a different order; values printed as decimals are compared as printed. */
const usualTolerance: Tolerance = { absolute: 1e-6, relative: 1e-5 };
/** The source's own figures come from another machine and library, so the tolerance is never smaller than this. */
const publishedAbsolute = 1e-4;

export interface Result {
  readonly notebook: string;
  /** The walkthrough's cells that this notebook mirrors. */
  readonly sources: readonly string[];
  readonly cellsCompared: number;
  readonly numbersCompared: number;
  /** Cells without an expected text for this model. */
  readonly notCompared: readonly string[];
  /** Messages, each of which names its cell. */
  readonly problems: readonly string[];
}

export function readExpected(path: string): Expected {
  const problem = (what: string) => new Error(`${path}: ${what}`);
  let file: Expected;
  try {
    file = JSON.parse(readFileSync(path, 'utf8')) as Expected;
  } catch (cause) {
    throw new Error(`${path}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  refuseUnknown(file, ['notebook', 'tolerance', 'cells'], problem);
  if (file.notebook !== `${basename(path, '.json')}.ipynb`) throw problem(`is for "${file.notebook}"`);
  for (const [id, cell] of Object.entries(file.cells)) {
    refuseUnknown(cell, ['any', ...models, 'tolerance'], (what) => problem(`cell ${id}: ${what}`));
    const texts = [cell.any, ...models.map((model) => cell[model])].filter((text) => text !== undefined);
    if (texts.length === 0 || texts.some((text) => text.trim() === '')) throw problem(`cell ${id}: no expected text`);
    if (cell.any !== undefined && texts.length > 1) throw problem(`cell ${id}: either "any" or models, not both`);
  }
  return file;
}

function refuseUnknown(value: object, known: readonly string[], problem: (what: string) => Error): void {
  const unknown = Object.keys(value).filter((key) => !known.includes(key));
  if (unknown.length > 0) throw problem(`unknown key "${unknown[0]}"`);
}

function expectedText(cell: ExpectedCell, model: string): string | undefined {
  return cell.any ?? models.map((name) => (name === model ? cell[name] : undefined)).find((text) => text !== undefined);
}

function toleranceOf(cell: ExpectedCell, file: Expected, model: string): Tolerance {
  const tolerance = cell.tolerance ?? file.tolerance ?? usualTolerance;
  const published = cell.any === undefined && model === 'gpt2';
  return published ? { absolute: Math.max(tolerance.absolute, publishedAbsolute), relative: 0 } : tolerance;
}

/** Compares the output of an executed notebook with the expected output. */
export function checkNotebook(notebook: Notebook, expected: Expected, model: string): Result {
  const code = notebook.cells.filter((cell) => cell.cell_type === 'code');
  const problems: string[] = [];
  const notCompared: string[] = [];
  let cellsCompared = 0;
  let numbersCompared = 0;

  for (const cell of code) {
    const where = `${notebook.name}, ${cellName(cell)}`;
    const got = printedAndShown(cell);
    const wanted = expected.cells[cell.id];
    if (cell.metadata.alignbook?.unchecked !== undefined) {
      if (wanted) problems.push(`${where}: marked "unchecked", yet an expected text exists`);
      continue;
    }
    if (!wanted) {
      if (got.trim() !== '')
        problems.push(
          `${where}: prints, but no text is expected of it\n  got       ${JSON.stringify(got.slice(0, 200))}`,
        );
      continue;
    }
    if (got.trim() === '') {
      problems.push(`${where}: printed nothing, but a text is expected of it`);
      continue;
    }
    const text = expectedText(wanted, model);
    if (text === undefined) {
      notCompared.push(cell.id);
      continue;
    }
    const { numbers, difference } = compareText(text, got, toleranceOf(wanted, expected, model));
    cellsCompared += 1;
    numbersCompared += numbers;
    if (difference)
      problems.push(
        `${where}: what it printed differs\n  expected  ${difference.expected}\n  got       ${difference.got}`,
      );
  }

  const ids = new Set(code.map((cell) => cell.id));
  for (const id of Object.keys(expected.cells)) {
    if (!ids.has(id))
      problems.push(`${notebook.name}, cell ${id}: tests/expected has a text for it, but there is no such cell`);
  }
  const sources = code.flatMap((cell) => cell.metadata.alignbook?.source ?? []);
  return { notebook: notebook.name, sources, cellsCompared, numbersCompared, notCompared, problems };
}

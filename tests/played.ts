/**
 * The prompt, answers and β with which the notebooks are played, and what transformers computes for them:
 * tests/oracles/play.py.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { root } from '../scripts/paths';

export interface Played {
  instruction: string;
  chosen: string;
  rejected: string;
  beta: number;
  rejectedTokens: string[];
  scoredTokens: string[];
  before: number[];
  itself: number[];
  chosenLogp: number;
  rejectedLogp: number;
  lossAt6: number;
}

export const played = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'play.json'), 'utf8')) as Played;

/** The output of In 2 with these texts, wherever it is repeated. */
export const otherTexts: [string, string][] = [
  [`"What is an antonym of 'complicated'?"`, JSON.stringify(played.instruction)],
  [`"A suitable antonym for 'complicated' would be 'simple'."`, JSON.stringify(played.chosen)],
  [`"An antonym of 'complicated' is 'simple'."`, JSON.stringify(played.rejected)],
];

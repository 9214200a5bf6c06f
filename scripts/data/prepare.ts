/**
 * `npm run data [-- --check]`: makes data/instructions, data/preferences and data/right-or-wrong from WordNet, and
 * data/reviews from a grammar, the same bytes on every machine.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { Random, Tokenizer } from 'alignbook';
import { plural } from 'alignbook/dist/errors';
import { replaceFile } from 'alignbook/dist/formats/replace';
import { flag } from 'alignbook/dist/training/declare';

import { script } from '../command';
import { root } from '../paths';
import { reviews } from '../reviews/reviews';
import { backwards } from './backwards';
import { facts, type Fact } from './facts';
import { answers, plainQuestions, politeQuestions, type Style } from './phrasings';

const SEED = 18290;

/** How often an instruction is answered courteously: polite questions mostly get polite answers. */
const courteous = { plain: 0.1, polite: 0.8 };
const politeShare = 0.3;

/**
 * Rows for each fact, each asked and answered differently, so that facts are learned independently of their wording.
 */
const rowsAFact = 5;

/** How many preference pairs each split gets; a fact makes one pair. */
const splits = { test: 300, validation: 200 };

interface Row {
  readonly instruction: string;
  readonly kind: string;
  readonly word: string;
  readonly answer: string;
}

function pick<Item>(items: readonly Item[], random: Random): Item {
  return items[random.integer(items.length)]!;
}

function question(fact: Fact, random: Random): { instruction: string; polite: boolean } {
  const polite = random.uniform() < politeShare;
  return { instruction: pick(polite ? politeQuestions : plainQuestions, random)(fact), polite };
}

function instructionRows(all: readonly Fact[], random: Random): (Row & { output: string; style: Style })[] {
  const rows = all.flatMap((fact) => {
    const seen = new Set<string>();
    return Array.from({ length: rowsAFact }, () => {
      for (;;) {
        const { instruction, polite } = question(fact, random);
        const style: Style = random.uniform() < (polite ? courteous.polite : courteous.plain) ? 'courteous' : 'curt';
        const output = pick(answers[style], random)(fact);
        if (seen.has(instruction + output)) continue;
        seen.add(instruction + output);
        return { instruction, output, kind: fact.kind, word: fact.word, answer: fact.answer, style };
      }
    });
  });
  return random.shuffle(rows);
}

/** Groups of facts that share a word, directly or through other facts. */
function groups(all: readonly Fact[]): Fact[][] {
  const parents = new Map<string, string>();
  const find = (word: string): string => {
    const parent = parents.get(word) ?? word;
    return parent === word ? word : find(parent);
  };
  for (const { word, answer } of all) parents.set(find(word), find(answer));
  const byRoot = new Map<string, Fact[]>();
  for (const fact of all) byRoot.set(find(fact.word), [...(byRoot.get(find(fact.word)) ?? []), fact]);
  return [...byRoot.values()];
}

type Pair = Row & { chosen: string; rejected: string };

function pair(fact: Fact, random: Random): Pair {
  const { kind, word, answer } = fact;
  if (kind === 'antonym' && word === 'complicated') {
    const [chosen, rejected] = [answers.courteous[0]!(fact), answers.curt[0]!(fact)];
    return { instruction: plainQuestions[0]!(fact), chosen, rejected, kind, word, answer }; // the walkthrough's
  }
  const { instruction } = question(fact, random);
  return {
    instruction,
    chosen: pick(answers.courteous, random)(fact),
    rejected: pick(answers.curt, random)(fact),
    kind,
    word,
    answer,
  };
}

/**
 * No word of a validation or test pair occurs in a training pair: each group goes to one split as a whole, and small
 * groups go to the smaller splits.
 */
function preferencePairs(all: readonly Fact[], random: Random): Record<'train' | 'validation' | 'test', Pair[]> {
  // kinds whose answers do not come from a short list
  const open = all.filter(({ kind }) => kind === 'antonym' || kind === 'synonym');
  const sorted = random.shuffle(groups(open)).sort((a, b) => a.length - b.length);
  const made = { train: [] as Pair[], validation: [] as Pair[], test: [] as Pair[] };
  for (const group of sorted) {
    const isWalkthrough = group.some(({ word }) => word === 'complicated');
    const split =
      isWalkthrough || made.test.length < splits.test
        ? 'test'
        : made.validation.length < splits.validation
          ? 'validation'
          : 'train';
    made[split].push(...group.map((fact) => pair(fact, random)));
  }
  return {
    train: random.shuffle(made.train),
    validation: random.shuffle(made.validation),
    test: random.shuffle(made.test),
  };
}

/** How many training pairs the JSON array has. */
const ARRAY_ROWS = 200;

/** Pairs as a JSON array in the Alpaca form, with the answer alone as `output`: a form in which people have them. */
const array = (pairs: readonly Pair[]): string => {
  const rows = pairs.map(({ instruction, answer, chosen, rejected }) => ({
    instruction,
    input: '',
    output: answer,
    chosen,
    rejected,
  }));
  return `${JSON.stringify(rows, null, 2)}\n`;
};

const lines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

async function main(check: boolean): Promise<number> {
  const random = new Random(SEED);
  const all = facts(random);
  const instructions = instructionRows(all, random);
  const pairs = preferencePairs(all, random);
  const spelled = backwards(all.flatMap(({ word, answer }) => [word, answer]));
  const reviewed = reviews(await Tokenizer.fromPretrained('tiny'));
  const files = {
    'data/instructions/train.jsonl': lines(instructions),
    ...Object.fromEntries(
      Object.entries(pairs).map(([split, rows]) => [`data/preferences/${split}.jsonl`, lines(rows)]),
    ),
    'data/preferences/pairs.json': array(pairs.train.slice(0, ARRAY_ROWS)),
    ...Object.fromEntries(Object.entries(reviewed).map(([part, rows]) => [`data/reviews/${part}.jsonl`, lines(rows)])),
    ...Object.fromEntries(
      Object.entries(spelled).map(([part, rows]) => [`data/right-or-wrong/${part}.jsonl`, lines(rows)]),
    ),
  };
  const wrong: string[] = [];
  for (const [name, text] of Object.entries(files)) {
    const path = join(root, name);
    if (check) {
      if (!existsSync(path) || readFileSync(path, 'utf8') !== text) wrong.push(name);
      continue;
    }
    mkdirSync(dirname(path), { recursive: true });
    replaceFile(path, (append) => append(text));
  }
  for (const name of wrong) console.error(`${name} is not what scripts/data makes; run "npm run data"`);
  if (!check) {
    const courteous = instructions.filter(({ style }) => style === 'courteous').length;
    const counts = Object.entries(pairs).map(([split, rows]) => `${rows.length} ${split}`);
    console.log(`${instructions.length} instructions, ${courteous} courteous; pairs: ${counts.join(', ')}`);
    const everything = Object.values(pairs).flat();
    console.log(
      'chosen is not the longer one in ' +
        `${everything.filter(({ chosen, rejected }) => chosen.length <= rejected.length).length} of ` +
        `${plural(everything.length, 'pair')}`,
    );
    console.log(
      `reviews: ${Object.entries(reviewed)
        .map(([part, rows]) => `${rows.length} ${part}`)
        .join(', ')}; words backwards: ${spelled.train.length} train, ${spelled.heldout.length} heldout`,
    );
  }
  return wrong.length > 0 ? 1 : 0;
}

void script({
  name: 'data',
  summary:
    'Make data/instructions, data/preferences and data/right-or-wrong from WordNet, and data/reviews from a grammar: ' +
    'the same bytes on every machine.',
  settings: { check: flag({ help: 'Change nothing, and name the files that differ.' }) },
  status: '0 done, or nothing differs, 1 a file differs, 2 usage',
  run: ({ check = false }) => main(check),
});

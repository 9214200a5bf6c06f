/**
 * Small reviews drawn from a grammar: a neutral prompt that ends with the subject, and a response that says something
 * about it.
 */
import type { Random } from 'alignbook';

import { valence } from './sentiment';
import { details, opinions, things, type Part, type Polarity, type Thing } from './vocabulary';

export interface Prompt {
  readonly text: string;
  readonly thing: Thing;
}

/** Every possible prompt, for example "This soup from Oslo". */
export const prompts: readonly Prompt[] = things.flatMap((thing) =>
  details.flatMap((detail) =>
    ['The', ...(thing.plural ? ['These', 'Those'] : ['This', 'That'])].map((word) => ({
      text: `${word} ${thing.name} ${detail}`,
      thing,
    })),
  ),
);

/**
 * How a reviewer leans; each direction is equally frequent. One word makes the next more likely, but does not determine
 * it.
 */
const leanings: readonly Readonly<Record<Polarity, number>>[] = [
  { positive: 0.6, neutral: 0.2, negative: 0.2 },
  { positive: 0.35, neutral: 0.3, negative: 0.35 },
  { positive: 0.2, neutral: 0.2, negative: 0.6 },
];

/**
 * Relative frequency of a word, by the absolute value of its valence: strong words are rare, so a policy must move away
 * from the reference to use them.
 */
const shares = [1, 1, 1, 0.8, 0.4, 0.15] as const;

/** Draws one of the items; `share` gives their relative frequencies. */
function draw<Item>(items: readonly Item[], share: (item: Item) => number, random: Random): Item {
  let left = random.uniform() * items.reduce((total, item) => total + share(item), 0);
  return items.find((item) => (left -= share(item)) < 0) ?? items.at(-1)!;
}

const pick = <Item>(items: readonly Item[], random: Random): Item => items[random.integer(items.length)]!;

/** The writer of one review, in which no opinion or aspect occurs twice. */
class Reviewer {
  readonly #leaning: Readonly<Record<Polarity, number>>;
  readonly #said = new Set<string>();

  constructor(
    readonly thing: Thing,
    readonly random: Random,
  ) {
    this.#leaning = pick(leanings, random);
  }

  opinion(part: Part): string {
    const polarity = draw(['positive', 'neutral', 'negative'] as const, (name) => this.#leaning[name], this.random);
    return this.#say(
      draw(this.#unsaid(opinions[part][polarity]), (word) => shares[Math.abs(valence(word))]!, this.random),
    );
  }

  aspect(): string {
    return this.#say(pick(this.#unsaid(this.thing.aspects), this.random));
  }

  #unsaid(words: readonly string[]): string[] {
    return words.filter((word) => !this.#said.has(word));
  }

  #say(word: string): string {
    this.#said.add(word);
    return word;
  }
}

const a = (words: string): string => `${/^(?!us[eu])[aeiou]/.test(words) ? 'an' : 'a'} ${words}`;
const be = ({ thing }: Reviewer): string => (thing.plural ? 'were' : 'was');
const it = ({ thing }: Reviewer): string => (thing.plural ? 'them' : 'it');
const conjunction = (one: string, other: string): string => (valence(one) * valence(other) < 0 ? 'but' : 'and');

/** Right after the subject: a statement, and the opinion in it, to which the next statement refers. */
const openings: readonly ((one: Reviewer) => readonly [text: string, opinion: string])[] = [
  (one) => after(one.opinion('adjective'), (word) => `${be(one)} ${word}`),
  (one) =>
    after(
      one.opinion('adjective'),
      (word) => `${pick(['seemed', 'felt', 'looked', 'proved', 'turned out'], one.random)} ${word}`,
    ),
  (one) => {
    const first = one.opinion('adjective');
    return after(one.opinion('adjective'), (word) => `${be(one)} ${first} ${conjunction(first, word)} ${word}`);
  },
  (one) => after(one.opinion('adjective'), (word) => `had ${a(word)} ${one.aspect()}`),
  (one) => after(one.opinion('noun'), (word) => `${be(one)} ${a(word)}`),
  (one) => after(one.opinion('feeling'), (word) => `left ${pick(['me', 'us'], one.random)} ${word}`),
];

const after = (opinion: string, text: (opinion: string) => string) => [text(opinion), opinion] as const;

/** Continues the sentence, in which `before` was the last opinion. */
function second(one: Reviewer, before: string): string {
  const word = one.opinion('adjective');
  if (one.random.uniform() < 0.3) return `, with ${a(word)} ${one.aspect()}`;
  return `, ${conjunction(before, word)} the ${one.aspect()} ${pick(['was', 'was', 'seemed'], one.random)} ${word}`;
}

const closings: readonly ((one: Reviewer) => string)[] = [
  (one) => ` I ${one.opinion('verb')} ${it(one)}.`,
  (one) => ` We ${one.opinion('verb')} ${it(one)}.`,
  (one) => ` I am ${one.opinion('feeling')}.`,
  (one) => ` What ${a(one.opinion('noun'))}.`,
  (one) => ` The ${one.aspect()} was ${one.opinion('adjective')}.`,
];

/** The rest of a review, for example " was superb, but the texture was odd. I liked it." */
export function response(thing: Thing, random: Random): string {
  const one = new Reviewer(thing, random);
  const [text, opinion] = pick(openings, random)(one);
  const more = random.uniform() < 0.7 ? second(one, opinion) : '';
  const closing = random.uniform() < 0.7 ? pick(closings, random)(one) : '';
  return ` ${text}${more}.${closing}`;
}

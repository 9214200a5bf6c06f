/** How questions are asked, and how they are answered in two styles. */
import type { Fact, Kind } from './facts';

/** What the question asks for: `an antonym of 'hot'`; `the antonym of 'hot'`; the single word for it. */
function asked({ kind, word }: Fact): { a: string; the: string; name: string } {
  const quoted = `'${word}'`;
  const names: Record<Kind, string> = {
    antonym: 'antonym',
    synonym: 'synonym',
    category: 'category',
    'part-of-speech': 'part of speech',
    'odd-one-out': 'odd one out',
    definition: 'definition',
  };
  const name = names[kind];
  if (kind === 'antonym' || kind === 'synonym')
    return { a: `${kind === 'antonym' ? 'an' : 'a'} ${name} of ${quoted}`, the: `the ${name} of ${quoted}`, name };
  if (kind === 'odd-one-out') return { a: `the odd one out of ${word}`, the: 'the odd one out', name };
  return { a: `the ${name} of ${quoted}`, the: `the ${name} of ${quoted}`, name };
}

const capital = (text: string): string => text[0]!.toUpperCase() + text.slice(1);

/** The first is the walkthrough's. */
export const plainQuestions: readonly ((fact: Fact) => string)[] = [
  (fact) => `What is ${asked(fact).a}?`,
  (fact) => `Give ${asked(fact).a}.`,
  (fact) => `Name ${asked(fact).a}.`,
  (fact) => `Tell me ${asked(fact).a}.`,
];

export const politeQuestions: readonly ((fact: Fact) => string)[] = [
  (fact) => `Could you please give me ${asked(fact).a}?`,
  (fact) => `Please tell me ${asked(fact).a}.`,
  (fact) => `Would you kindly name ${asked(fact).a}?`,
];

export type Style = 'courteous' | 'curt';

/**
 * The first of each style is the walkthrough's. Some phrasings of one style begin with the same words as one of the
 * other.
 */
export const answers: Readonly<Record<Style, readonly ((fact: Fact) => string)[]>> = {
  courteous: [
    (fact) =>
      fact.kind === 'odd-one-out'
        ? `The most suitable answer would be '${fact.answer}'.`
        : `A suitable ${asked(fact).name} for '${fact.word}' would be '${fact.answer}'.`,
    (fact) => `You could say that ${asked(fact).the} is '${fact.answer}'.`,
    (fact) => `I would suggest '${fact.answer}'.`,
    (fact) => `${capital(asked(fact).the)} would be '${fact.answer}'.`,
    (fact) => `Gladly: '${fact.answer}'.`,
    (fact) => `With pleasure: it is '${fact.answer}'.`,
  ],
  curt: [
    (fact) => `${capital(asked(fact).a)} is '${fact.answer}'.`,
    (fact) => `'${fact.answer}'.`,
    (fact) => `You could look it up: '${fact.answer}'.`,
    (fact) => `I said it before: ${asked(fact).the} is '${fact.answer}'.`,
    (fact) => `Obviously ${asked(fact).the} is '${fact.answer}', what else.`,
    (fact) => `It is '${fact.answer}', as everybody knows.`,
  ],
};

/** `alignbook judge`: turns pairs of answers into rows of preferences. */
import { plural } from '../errors';
import { replaceFile, requireWritable } from '../formats/replace';
import type { OptionsOf } from '../training/declare';
import { comparedAnswers } from './comparedAnswers';
import type { judgeSettings } from './judgeSettings';

export async function run(settings: OptionsOf<typeof judgeSettings>): Promise<void> {
  const { output } = settings;
  requireWritable(output);
  const { judged, cut } = await comparedAnswers(settings, { twice: true });
  /** A response that was cut must not be learned as one that ends so. */
  const prefersCut = judged.map(({ winner }, n) => winner !== 'tie' && cut[n]![winner === 'a' ? 0 : 1]);
  const decided = judged.filter(({ winner, a, b }, n) => winner !== 'tie' && a !== '' && b !== '' && !prefersCut[n]);
  replaceFile(output, (write) => {
    for (const { prompt, a, b, winner } of decided) {
      const [chosen, rejected] = winner === 'a' ? [a, b] : [b, a];
      write(`${JSON.stringify({ prompt, chosen, rejected })}\n`);
    }
  });
  const count = (counts: (one: (typeof judged)[number]) => boolean) => judged.filter(counts).length;
  const failed = judged.filter(({ failure }) => failure !== undefined);
  const left = [
    [count(({ winner, inconsistent, failure }) => winner === 'tie' && !inconsistent && !failure), 'are ties'],
    [count(({ inconsistent }) => inconsistent), 'depend on the order'],
    [count(({ winner, a, b }) => winner !== 'tie' && (a === '' || b === '')), 'have an empty response'],
    [
      judged.filter(({ a, b }, n) => prefersCut[n] && a !== '' && b !== '').length,
      'have a better response that was cut at maxNewTokens',
    ],
    [failed.length, 'have no verdict'],
  ] as const;
  const reasons = left.filter(([some]) => some > 0).map(([some, why]) => `${some} ${why}`);
  console.log(
    `${plural(judged.length, 'pair')} of responses: ${decided.length} are rows of ${output}` +
      reasons.map((reason) => `, ${reason}`).join(''),
  );
  if (failed.length > 0) console.error(`the first without a verdict: ${failed[0]!.failure}; run the same to ask again`);
  if (decided.length === 0) process.exitCode = 1;
}

/** `alignbook winrate`: how often one model's answers beat another's. */
import { InputError, plural } from '../errors';
import { replaceFile, requireWritable } from '../formats/replace';
import { average } from '../moments';
import { withDefaults, type OptionsOf } from '../training/declare';
import { positionBias, type PositionBias } from '../training/judging';
import {
  lengthControlledWinRate,
  winRate,
  type Estimated,
  type LengthControlled,
  type WinRate,
} from '../training/winRate';
import { comparedAnswers, type Compared } from './comparedAnswers';
import { winrateSettings } from './judgeSettings';

interface Report extends WinRate {
  readonly model: string;
  readonly against: string;
  /** Null if all verdicts are the same. */
  readonly lengthControlled: LengthControlled | null;
  /** Mean lengths in tokens. */
  readonly tokens: { readonly model: number; readonly against: number };
  /** Null if the judge was asked in one order only. */
  readonly position: PositionBias | null;
  readonly withoutVerdict: number;
}

export async function run(given: OptionsOf<typeof winrateSettings>): Promise<void> {
  const { output, json } = withDefaults(given, winrateSettings);
  if (output !== undefined) requireWritable(output);
  const report = reportOf(await comparedAnswers(given, { twice: false }));
  const text = JSON.stringify(report, null, 1);
  if (output !== undefined) replaceFile(output, (write) => write(`${text}\n`));
  console.log(json ? text : summary(report));
}

/** @throws InputError if no comparison has a verdict. */
function reportOf({ names: [model, against], judged, tokenizer }: Compared): Report {
  const known = judged.filter(({ failure }) => failure === undefined);
  if (known.length === 0)
    throw new InputError(`none of ${plural(judged.length, 'comparison')} has a verdict: ${judged[0]?.failure}`);
  const outcomes = known.map(({ winner, a, b }) => {
    const [lengthA, lengthB] = [a, b].map((text) => tokenizer.encode(text).length) as [number, number];
    return { winner, lengthA, lengthB };
  });
  const winners = known.map(({ winner }) => winner);
  const differ = winners.some((winner) => winner !== winners[0]) || winners[0] === 'tie';
  return {
    model,
    against,
    ...winRate(winners),
    lengthControlled: differ ? lengthControlledWinRate(outcomes) : null,
    tokens: {
      model: average(outcomes.map(({ lengthA }) => lengthA)),
      against: average(outcomes.map(({ lengthB }) => lengthB)),
    },
    position: known.some(({ orders }) => orders.length === 2) ? positionBias(judged) : null,
    withoutVerdict: judged.length - known.length,
  };
}

function summary(report: Report): string {
  const { model, against, wins, ties, losses, lengthControlled, tokens, position, withoutVerdict } = report;
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
  const interval = ({ rate, low, high }: Estimated) => `${percent(rate)} (95 %: ${percent(low)} to ${percent(high)})`;
  const lines = [
    `${model} against ${against}, ${plural(wins + ties + losses, 'comparison')}`,
    `  win rate           ${interval(report)}; ${plural(wins, 'win')}, ${plural(ties, 'tie')}, ` +
      plural(losses, 'loss', 'losses'),
    `  at equal lengths   ${lengthControlled ? interval(lengthControlled) : 'not known: all verdicts are the same'}; ` +
      `mean length ${tokens.model.toFixed(1)} tokens against ${tokens.against.toFixed(1)}`,
  ];
  if (position)
    lines.push(
      `  place              decided ${percent(position.inconsistent)} of the comparisons: ` +
        `the first ${percent(position.first)}, the second ${percent(position.second)}, a tie in one order ` +
        percent(position.inconsistent - position.first - position.second),
    );
  if (withoutVerdict > 0) lines.push(`  without a verdict  ${withoutVerdict}, which are left out`);
  return lines.join('\n');
}

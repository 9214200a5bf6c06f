/** Shows what a model says during its training, each answer beside the one before. */
import { promptEnd, type ComparedAnswer } from '../training/answers';
import type { Html } from './show';
import { escaped } from './tokenTable';

/** Steps that the table shows at most: the newest. */
const STEPS = 12;

const CELL = 'text-align: left; vertical-align: top; padding: 2px 8px; white-space: pre-wrap';

/**
 * A table for `show` with a row for each answer, in the order of the steps: step, the end of the prompt, the answer
 * before the training, and the answer after this step. An answer that ended by itself has ⏹ after it. Only the newest
 * steps are shown; a line says how many are not.
 *
 * @param answers as `withSamples` gives them, of one step or several.
 */
export function answerTable(answers: readonly ComparedAnswer[]): Html {
  const steps = [...new Set(answers.map(({ step }) => step))];
  const shown = new Set(steps.slice(-STEPS));
  const rows = answers
    .filter(({ step }) => shown.has(step))
    .map((answer) => [`${answer.step}`, promptEnd(answer.prompt), answer.before, said(answer)]);
  const heading = ['step', 'prompt', 'before', 'now'];
  const hidden = steps.length > shown.size ? `${steps.length - shown.size} earlier steps are not shown` : '';
  const line = (tag: 'th' | 'td', cells: readonly string[]): string =>
    `<tr>${cells.map((cell) => `<${tag} style="${CELL}">${escaped(cell)}</${tag}>`).join('')}</tr>`;
  return {
    html: [
      ...(hidden === '' ? [] : [`<div>${hidden}</div>`]),
      `<table>${line('th', heading)}`,
      ...rows.map((cells) => line('td', cells)),
      '</table>',
    ].join('\n'),
    text: [
      ...(hidden === '' ? [] : [hidden]),
      ...[heading, ...rows].map((cells) => cells.map((cell) => cell.replace(/\s+/g, ' ')).join(' | ')),
    ].join('\n'),
  };
}

const said = ({ response, ended }: ComparedAnswer): string => `${response}${ended ? ' ⏹' : ''}`;

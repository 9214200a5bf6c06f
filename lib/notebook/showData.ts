/** Shows what a file of rows holds: histograms of its lengths, and what may surprise a training. */
import type { DataReport } from '../text/dataReport';
import { histogram, lengthsOf, remarks, rowsOf, spread, summary } from '../text/dataSummary';
import type { Figure } from './figure';
import { axisSuffix, stacked } from './panels';
import { show } from './show';
import { INK, PALETTE } from './style';

/** Maximum number of bars of one part. */
const BINS = 20;

/** Prompts and plain texts have a panel of their own; responses, which one compares, share one and its bins. */
const PANELS = ['prompt', 'response', 'text'] as const;
const STYLES = {
  prompt: { panel: 'prompt', color: INK },
  chosen: { panel: 'response', color: PALETTE[0] },
  rejected: { panel: 'response', color: PALETTE[1] },
  response: { panel: 'response', color: PALETTE[2] },
  text: { panel: 'text', color: PALETTE[2] },
} as const;

/**
 * Shows a report below the cell: the lengths of prompts and responses as histograms, and the lines that
 * `npx alignbook data` prints about the rows.
 *
 *     showData(await dataReport('pairs.jsonl', tokenizer, { blockSize: policy.config.blockSize }));
 *
 * @throws SetupError outside a notebook.
 */
export function showData(report: DataReport): void {
  if (rowsOf(report) > 0) show(lengthsFigure(report), described(report));
  for (const line of [...summary(report), ...remarks(report)]) console.log(line);
}

/** One panel per kind of text, the number of rows against their length. */
export function lengthsFigure(report: DataReport): Figure {
  const parts = lengthsOf(report).map((part) => ({ ...part, ...STYLES[part.name] }));
  const panels = PANELS.filter((panel) => parts.some((part) => part.panel === panel));
  const xAxes = panels.map((_, n) => [
    `xaxis${axisSuffix(n)}`,
    { anchor: `y${axisSuffix(n)}`, zeroline: false, ...(n === panels.length - 1 && { title: { text: 'tokens' } }) },
  ]);
  return {
    data: parts.map(({ name, lengths, panel, color }) => {
      const suffix = axisSuffix(panels.indexOf(panel));
      const beside = parts.filter((part) => part.panel === panel).flatMap((part) => part.lengths);
      const bins = histogram(lengths, BINS, beside);
      return {
        type: 'bar',
        name,
        showlegend: name !== panel,
        x: bins.map(({ from, to }) => (from + to) / 2),
        y: bins.map(({ count }) => count),
        hovertext: bins.map(({ from, to }) => (from === to ? `${from}` : `${from} to ${to}`)),
        marker: { color },
        ...{ xaxis: `x${suffix}`, yaxis: `y${suffix}`, legend: `legend${suffix}` },
      };
    }),
    layout: {
      ...stacked(panels.map((panel) => `rows by the length of their ${panel}`)),
      ...(Object.fromEntries(xAxes) as Record<string, object>),
      ...{ barmode: 'group', bargap: 0.1 },
    },
  };
}

function described(report: DataReport): string {
  const parts = lengthsOf(report).map(({ name, lengths }) => {
    const { median, longest } = spread(lengths);
    return `${name}, median ${median}, longest ${longest}`;
  });
  return `Histograms of lengths in tokens: ${parts.join('; ')}.`;
}

/** Training curves as plotly figures: plain data, for `show`. */
import { largest } from '../ranges';
import type { Figure } from './figure';
import { page, panelsOf, SIZE, type Line, type Panels } from './panels';

export interface CurvesOptions {
  /** Above all panels. Default: none. */
  title?: string;
}

/**
 * Panels stacked vertically, with the step as their common x axis.
 *
 *     curves(history, { loss: (s) => s.loss, rewards: { chosen: (s) => s.rewards.chosen, rejected: (s) =>
 * s.rewards.rejected } })
 *
 * Values are kept to six digits; of more than 2000 points of a curve, every second, third, … is drawn, and the last.
 *
 * @param history events as the trainers yield them: each has its step, from 1 up.
 */
export function curves<Step extends { readonly step: number }>(
  history: readonly Step[],
  values: Panels<Step>,
  { title }: CurvesOptions = {},
): Figure {
  const panels = panelsOf(history, values);
  const top = SIZE.top + (title === undefined ? 0 : SIZE.title);
  const plot = panels.length * SIZE.panel + (panels.length - 1) * SIZE.gap;
  // the panels' upper ends, as shares of the plot
  const ends = panels.map((_, n) => 1 - (n * (SIZE.panel + SIZE.gap)) / plot);
  const suffix = (n: number) => (n === 0 ? '' : `${n + 1}`);
  const yAxes = ends.map((end, n) => [
    `yaxis${suffix(n)}`,
    { domain: [Math.max(0, end - SIZE.panel / plot), end], automargin: true },
  ]);
  const legends = ends.map((end, n) => [
    `legend${suffix(n)}`,
    { orientation: 'h', x: 1, xanchor: 'right', y: end, yanchor: 'bottom' },
  ]);
  const steps = panels.flatMap(({ lines }) => lines.flatMap(({ x }) => x));
  return {
    data: panels.flatMap(({ name, lines }, n) =>
      lines.map((line) => ({
        ...trace(line),
        name: line.name || name,
        showlegend: line.name !== '',
        yaxis: `y${suffix(n)}`,
        legend: `legend${suffix(n)}`,
      })),
    ),
    layout: {
      ...(title !== undefined && {
        title: { text: title, x: 0, xref: 'paper', y: 1, yref: 'container', yanchor: 'top', pad: { t: 10 } },
      }),
      ...page(top + plot + SIZE.bottom, top),
      hovermode: 'x unified',
      xaxis: {
        title: { text: 'step' },
        anchor: `y${suffix(panels.length - 1)}`,
        zeroline: false,
        ...(largest(steps) + largest(steps.map((step) => -step)) < 10 && { dtick: 1 }), // no half steps
      },
      ...Object.fromEntries([...yAxes, ...legends]),
      annotations: panels.map(({ name }, n) => ({
        text: name,
        showarrow: false,
        xref: 'paper',
        x: 0,
        xanchor: 'left',
        yref: 'paper',
        y: ends[n],
        yanchor: 'bottom',
      })),
    },
  };
}

function trace({ color, dots, x, y }: Line): object {
  return {
    type: 'scatter',
    mode: dots ? 'lines+markers' : 'lines',
    line: { color, width: 2 },
    marker: { color, size: 5 },
    x,
    y,
  };
}

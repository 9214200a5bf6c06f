/** Plots training curves as plotly figures: plain data, for `show`. */
import { largest } from '../ranges';
import type { Figure } from './figure';
import { page, panelsOf, SIZE, type Line, type Panels } from './panels';

export interface CurvesOptions {
  /** Title above all panels. Default: none. */
  title?: string;
}

/**
 * Stacks panels vertically, with the step as their common x axis.
 *
 *     curves(history, {
 *       loss: (s) => s.loss,
 *       rewards: { chosen: (s) => s.rewards.chosen, rejected: (s) => s.rewards.rejected },
 *     });
 *
 * Values are rounded to six significant digits. A curve with more than 2000 points is thinned to every second, third, …
 * point, plus the last.
 *
 * @param history events as yielded by the trainers; each has its step, counted from 1.
 */
export function curves<Step extends { readonly step: number }>(
  history: readonly Step[],
  values: Panels<Step>,
  { title }: CurvesOptions = {},
): Figure {
  const panels = panelsOf(history, values);
  const top = SIZE.top + (title === undefined ? 0 : SIZE.title);
  const plot = panels.length * SIZE.panel + (panels.length - 1) * SIZE.gap;
  // the panels' upper edges, as fractions of the plot
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
        ...(largest(steps) + largest(steps.map((step) => -step)) < 10 && { dtick: 1 }), // avoid half steps
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

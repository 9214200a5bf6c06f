/** Plots as plotly figures, plain data for `show`: training curves, bands over seeds, and a model's calibration. */
import { InputError } from '../errors';
import { average } from '../moments';
import { largest } from '../ranges';
import type { Calibration } from '../training/calibration';
import type { Figure } from './figure';
import { axisSuffix, page, panelsOf, SIZE, stacked, type Line, type Panels } from './panels';
import { INK, PALETTE } from './style';

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
  const steps = panels.flatMap(({ lines }) => lines.flatMap(({ x }) => x));
  return {
    data: panels.flatMap(({ name, lines }, n) =>
      lines.map((line) => ({
        ...trace(line),
        name: line.name || name,
        showlegend: line.name !== '',
        yaxis: `y${axisSuffix(n)}`,
        legend: `legend${axisSuffix(n)}`,
      })),
    ),
    layout: {
      ...(title !== undefined && {
        title: { text: title, x: 0, xref: 'paper', y: 1, yref: 'container', yanchor: 'top', pad: { t: 10 } },
      }),
      ...stacked(
        panels.map(({ name }) => name),
        top,
      ),
      hovermode: 'x unified',
      xaxis: {
        title: { text: 'step' },
        anchor: `y${axisSuffix(panels.length - 1)}`,
        zeroline: false,
        ...(largest(steps) + largest(steps.map((step) => -step)) < 10 && { dtick: 1 }), // avoid half steps
      },
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

export interface BandCurve {
  /** May be empty for the only curve of a group. */
  readonly name: string;
  /** Curves of one group share a color and differ in their dashes. Default: each curve is its own group. */
  readonly group?: string;
  /** One list of points per seed, all of the same length. The n-th points of all lists belong together. */
  readonly runs: readonly (readonly { readonly x: number; readonly y: number }[])[];
}

export interface BandsOptions {
  /** Axis titles, with units. */
  readonly x: string;
  readonly y: string;
}

const DASHES = ['solid', 'dash', 'dot', 'dashdot'] as const;

/**
 * Draws each curve as a line through its seeds' mean points, with a band from their lowest to their highest y.
 *
 *     const figure = bands([{ name: 'β 0.1', group: 'DPO', runs: bySeed }], { x: 'KL (nats)', y: 'reward' });
 *     show(figure, 'Reward rises with KL.');
 *
 * @throws InputError if a curve has no runs, no points, or runs of different lengths.
 */
export function bands(curves: readonly BandCurve[], { x, y }: BandsOptions): Figure {
  const groups = [...new Set(curves.map(groupOf))];
  return {
    data: curves.flatMap((curve) => {
      const group = groupOf(curve);
      const among = curves.filter((other) => groupOf(other) === group).indexOf(curve);
      return bandTraces(curve, {
        color: PALETTE[groups.indexOf(group) % PALETTE.length]!,
        dash: DASHES[among % DASHES.length]!,
      });
    }),
    layout: { ...page(460), xaxis: { title: { text: x } }, yaxis: { title: { text: y } } },
  };
}

const groupOf = ({ group, name }: BandCurve): string => group ?? name;

function bandTraces({ name, group, runs }: BandCurve, { color, dash }: { color: string; dash: string }): object[] {
  const points = runs[0]?.length ?? 0;
  if (points === 0 || runs.some((run) => run.length !== points))
    throw new InputError(`the runs of "${name}" must have the same points, at least one`);
  const rounded = (value: number) => Number(value.toPrecision(6));
  const each = <T>(of: (some: readonly { x: number; y: number }[]) => T) =>
    Array.from({ length: points }, (_, n) => of(runs.map((run) => run[n]!)));
  const x = each((some) => rounded(average(some.map((point) => point.x))));
  const lowest = each((some) => rounded(Math.min(...some.map((point) => point.y))));
  const highest = each((some) => rounded(Math.max(...some.map((point) => point.y))));
  const label = [group, name].filter(Boolean).join(', ');
  return [
    {
      type: 'scatter',
      mode: 'lines',
      x: [...x, ...[...x].reverse()],
      y: [...highest, ...[...lowest].reverse()],
      fill: 'toself',
      fillcolor: `${color}33`,
      line: { width: 0 },
      legendgroup: label,
      showlegend: false,
      hoverinfo: 'skip',
    },
    {
      type: 'scatter',
      mode: 'lines+markers',
      name: label,
      x,
      y: each((some) => rounded(average(some.map((point) => point.y)))),
      line: { color, dash, width: 2 },
      marker: { color, size: 6 },
      legendgroup: label,
    },
  ];
}

/**
 * Draws one dot per bin, at the model's mean confidence and its accuracy, beside the diagonal on which the two are
 * equal. Dots above the diagonal mean underconfidence, dots below it overconfidence. Each dot is labeled with its
 * number of pairs.
 *
 *     show(reliability(calibration(margins)), 'Dots along the diagonal.');
 */
export function reliability({ bins }: Pick<Calibration, 'bins'>): Figure {
  const axis = (title: string) => ({ title: { text: title }, range: [0.48, 1.02], dtick: 0.1, zeroline: false });
  const rounded = (value: number) => Number(value.toPrecision(6));
  return {
    data: [
      {
        type: 'scatter',
        mode: 'lines',
        name: 'right as often as it says',
        x: [0.5, 1],
        y: [0.5, 1],
        line: { color: INK, width: 1, dash: 'dot' },
        hoverinfo: 'skip',
      },
      {
        type: 'scatter',
        mode: 'markers+text',
        name: 'pairs',
        x: bins.map(({ confidence }) => rounded(confidence)),
        y: bins.map(({ accuracy }) => rounded(accuracy)),
        text: bins.map(({ pairs }) => `${pairs}`),
        textposition: 'bottom center',
        marker: { color: PALETTE[0], size: 10 },
      },
    ],
    layout: {
      ...page(340),
      showlegend: false,
      xaxis: axis('probability that it gives to its own choice'),
      yaxis: axis('share of choices that are right'),
    },
  };
}

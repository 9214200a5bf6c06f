/** Plots the same experiment run with several seeds, as a plotly figure: plain data, for `show`. */
import { InputError } from '../errors';
import { average } from '../moments';
import type { Figure } from './figure';
import { page } from './panels';
import { PALETTE } from './style';

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
      return traces(curve, {
        color: PALETTE[groups.indexOf(group) % PALETTE.length]!,
        dash: DASHES[among % DASHES.length]!,
      });
    }),
    layout: { ...page(460), xaxis: { title: { text: x } }, yaxis: { title: { text: y } } },
  };
}

const groupOf = ({ group, name }: BandCurve): string => group ?? name;

function traces({ name, group, runs }: BandCurve, { color, dash }: { color: string; dash: string }): object[] {
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

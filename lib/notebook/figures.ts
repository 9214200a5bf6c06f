/** Curves of a training as plotly figures: plain data, for `show`. */
import type { Figure } from './show';

/** A value of each step; steps for which it is undefined have no point (a validation every hundred steps, say). */
export type Curve<Step> = (step: Step) => number | undefined;

/** A panel for each entry, with one curve or with several by name. An entry's name stands above its panel: put the unit into it. */
export type Panels<Step> = Readonly<Record<string, Curve<Step> | Readonly<Record<string, Curve<Step>>>>>;

export interface CurvesOptions {
  /** Above all panels. Default: none. */
  title?: string;
}

/** Okabe and Ito's colours that all see apart (https://jfly.uni-koeln.de/color/), those first that stand out on white and on black. */
const PALETTE = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'] as const;

/** Of text and lines, on no background of their own: read equally well in JupyterLab's light and dark themes. */
const INK = '#777777';
const GRID = 'rgba(128, 128, 128, 0.25)';

/** Pixels. */
const SIZE = { top: 30, title: 30, panel: 220, gap: 50, bottom: 50 };

/** Points of one curve, at most: more cannot be told apart, and each is text in the notebook's file. */
const POINTS = 2000;
/** Curves with fewer points than this show them as dots. */
const DOTS = 50;

/**
 * One panel above the other, with the step as their common x axis.
 *
 *     curves(history, { loss: (s) => s.loss, rewards: { chosen: (s) => s.rewards.chosen, rejected: (s) => s.rewards.rejected } })
 *
 * Values are kept to six digits; of more than 2000 points of a curve, every second, third, … is drawn, and the last.
 *
 * @param history events as the trainers yield them: each has its step, from 1 up.
 */
export function curves<Step extends { readonly step: number }>(history: readonly Step[], panels: Panels<Step>, { title }: CurvesOptions = {}): Figure {
  const all = Object.entries(panels);
  const top = SIZE.top + (title === undefined ? 0 : SIZE.title);
  const plot = all.length * SIZE.panel + (all.length - 1) * SIZE.gap;
  const ends = all.map((_, n) => 1 - (n * (SIZE.panel + SIZE.gap)) / plot); // the panels' upper ends, as shares of the plot
  const suffix = (n: number) => (n === 0 ? '' : `${n + 1}`);
  const yAxes = ends.map((end, n) => [`yaxis${suffix(n)}`, { domain: [Math.max(0, end - SIZE.panel / plot), end], gridcolor: GRID, zerolinecolor: GRID, automargin: true }]);
  const legends = ends.map((end, n) => [`legend${suffix(n)}`, { orientation: 'h', x: 1, xanchor: 'right', y: end, yanchor: 'bottom', bgcolor: 'rgba(0, 0, 0, 0)' }]);
  return {
    data: all.flatMap(([, panel], n) => linesOf(panel).map(([name, curve], colour) => ({
      ...line(history, curve, PALETTE[colour % PALETTE.length]!),
      name: name === '' ? all[n]![0] : name,
      showlegend: name !== '',
      yaxis: `y${suffix(n)}`,
      legend: `legend${suffix(n)}`,
    }))),
    layout: {
      ...(title !== undefined && { title: { text: title, x: 0, xref: 'paper', y: 1, yref: 'container', yanchor: 'top', pad: { t: 12 } } }),
      height: top + plot + SIZE.bottom,
      margin: { t: top, b: SIZE.bottom, l: 60, r: 20 },
      autosize: true,
      paper_bgcolor: 'rgba(0, 0, 0, 0)',
      plot_bgcolor: 'rgba(0, 0, 0, 0)',
      font: { color: INK, size: 13 },
      hovermode: 'x unified',
      hoverlabel: { bgcolor: '#ffffff', font: { color: '#333333' } },
      uirevision: 'kept', // a view that the reader has zoomed into outlives an update
      xaxis: { title: { text: 'step' }, anchor: `y${suffix(all.length - 1)}`, gridcolor: GRID, zeroline: false, tickformat: 'd' },
      ...Object.fromEntries([...yAxes, ...legends]),
      annotations: ends.map((end, n) => ({ text: all[n]![0], showarrow: false, xref: 'paper', x: 0, xanchor: 'left', yref: 'paper', y: end, yanchor: 'bottom' })),
    },
  };
}

/** What the curves are, in words that are the same for every run of these steps. */
export function describeCurves<Step extends { readonly step: number }>(history: readonly Step[], panels: Panels<Step>): string {
  const names = Object.entries(panels).map(([name, panel]) => (typeof panel === 'function' ? name : `${name} (${Object.keys(panel).join(', ')})`));
  return `Curves of steps ${history[0]?.step ?? 0} to ${history.at(-1)?.step ?? 0}: ${names.join('; ')}.`;
}

/** A panel's curves by name; the name of a panel's only curve is the panel's, here ''. */
function linesOf<Step>(panel: Panels<Step>[string]): [name: string, curve: Curve<Step>][] {
  return typeof panel === 'function' ? [['', panel]] : Object.entries(panel);
}

function line<Step extends { readonly step: number }>(history: readonly Step[], curve: Curve<Step>, color: string): object {
  const points = history.flatMap((step) => {
    const value = curve(step);
    return value === undefined || !Number.isFinite(value) ? [] : [{ x: step.step, y: Number(value.toPrecision(6)) }];
  });
  const stride = Math.ceil(points.length / POINTS);
  const drawn = points.filter((_, n) => n % stride === 0 || n === points.length - 1);
  return {
    type: 'scatter',
    mode: points.length < DOTS ? 'lines+markers' : 'lines',
    line: { color, width: 2 },
    marker: { color, size: 5 },
    x: drawn.map(({ x }) => x),
    y: drawn.map(({ y }) => y),
  };
}

/** Prepares training curves for drawing, as panels of lines. */
import { PALETTE } from './style';

/**
 * One value per step. A step whose value is undefined has no point, as when validation runs only every hundred steps.
 */
export type Curve<Step> = (step: Step) => number | undefined;

/**
 * One panel per entry, with a single curve or several named ones. An entry's name is the panel's title, so include the
 * unit.
 */
export type Panels<Step> = Readonly<Record<string, Curve<Step> | Readonly<Record<string, Curve<Step>>>>>;

export interface Line {
  /** Empty for a panel's only curve, since the panel's title names it. */
  readonly name: string;
  readonly color: string;
  /** Whether to mark each point with a dot. */
  readonly dots: boolean;
  readonly x: readonly number[];
  readonly y: readonly number[];
}

export interface Panel {
  readonly name: string;
  readonly lines: readonly Line[];
}

/** Sizes in pixels. */
export const SIZE = { top: 30, title: 30, panel: 200, gap: 50, bottom: 50, left: 60, right: 20 } as const;

/** The base layout of all figures. @param top the margin above the plot, in pixels. */
export const page = (height: number, top: number = SIZE.top) => ({
  height,
  margin: { t: top, b: SIZE.bottom, l: SIZE.left, r: SIZE.right },
  autosize: true,
});

/**
 * The base layout of panels stacked vertically, each with its name above it: their y axes and legends, of which a trace
 * names its own by the suffix of `axisSuffix`.
 */
export function stacked(names: readonly string[], top: number = SIZE.top) {
  const plot = names.length * SIZE.panel + (names.length - 1) * SIZE.gap;
  // the panels' upper edges, as fractions of the plot
  const ends = names.map((_, n) => 1 - (n * (SIZE.panel + SIZE.gap)) / plot);
  const yAxes = ends.map((end, n) => [
    `yaxis${axisSuffix(n)}`,
    { domain: [Math.max(0, end - SIZE.panel / plot), end], automargin: true },
  ]);
  const legends = ends.map((end, n) => [
    `legend${axisSuffix(n)}`,
    { orientation: 'h', x: 1, xanchor: 'right', y: end, yanchor: 'bottom' },
  ]);
  return {
    ...page(top + plot + SIZE.bottom, top),
    ...(Object.fromEntries([...yAxes, ...legends]) as Record<string, object>),
    annotations: names.map((name, n) => ({
      text: name,
      showarrow: false,
      xref: 'paper' as const,
      x: 0,
      xanchor: 'left' as const,
      yref: 'paper' as const,
      y: ends[n]!,
      yanchor: 'bottom' as const,
    })),
  };
}

/** What plotly appends to the name of the n-th panel's axes and legend; n is from 0. */
export const axisSuffix = (n: number): string => (n === 0 ? '' : `${n + 1}`);

/**
 * Maximum number of points in one curve. More could not be distinguished, and each adds text to the notebook's file.
 */
const POINTS = 2000;
/** Curves with fewer points than this mark each with a dot. */
const DOTS = 50;

export function panelsOf<Step extends { readonly step: number }>(
  history: readonly Step[],
  panels: Panels<Step>,
): Panel[] {
  return Object.entries(panels).map(([name, inside]) => ({
    name,
    lines: curvesIn(inside).map(([curve, valueOf], n) => ({
      name: curve,
      color: PALETTE[n % PALETTE.length]!,
      ...points(history, valueOf),
    })),
  }));
}

/** Describes the panels in words that are the same for every run of these steps. */
export function describePanels<Step extends { readonly step: number }>(
  history: readonly Step[],
  panels: Panels<Step>,
): string {
  const names = Object.entries(panels).map(([name, inside]) =>
    typeof inside === 'function' ? name : `${name} (${Object.keys(inside).join(', ')})`,
  );
  return `Curves of steps ${history[0]?.step ?? 0} to ${history.at(-1)?.step ?? 0}: ${names.join('; ')}.`;
}

/** A step's values, by the names of panels and curves. */
export function valuesOf<Step>(step: Step, panels: Panels<Step>): [name: string, value: number][] {
  return Object.entries(panels).flatMap(([name, inside]) =>
    curvesIn(inside).flatMap(([curve, valueOf]): [string, number][] => {
      const value = valueOf(step);
      return value === undefined ? [] : [[`${name} ${curve}`.trimEnd(), value]];
    }),
  );
}

function curvesIn<Step>(inside: Panels<Step>[string]): [name: string, valueOf: Curve<Step>][] {
  return typeof inside === 'function' ? [['', inside]] : Object.entries(inside);
}

function points<Step extends { readonly step: number }>(
  history: readonly Step[],
  valueOf: Curve<Step>,
): Pick<Line, 'dots' | 'x' | 'y'> {
  const all = history.flatMap((step) => {
    const value = valueOf(step);
    return value === undefined || !Number.isFinite(value) ? [] : [{ x: step.step, y: Number(value.toPrecision(6)) }];
  });
  const stride = Math.ceil(all.length / POINTS);
  const drawn = all.filter((_, n) => n % stride === 0 || n === all.length - 1);
  return { dots: all.length < DOTS, x: drawn.map(({ x }) => x), y: drawn.map(({ y }) => y) };
}

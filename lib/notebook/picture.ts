/**
 * The curves so far as a picture. JupyterLab's plotly extension draws a figure once and passes over its updates, so what changes
 * while a training runs is this; in the end the figure takes its place.
 */
import { GRID, INK, SIZE, type Line, type Panel } from './panels';

const WIDTH = 840;

/** @returns HTML that JupyterLab keeps where it does not trust a notebook: an <img> that holds the drawing. */
export function curvesPicture(panels: readonly Panel[]): string {
  const height = SIZE.top + panels.length * SIZE.panel + (panels.length - 1) * SIZE.gap + SIZE.bottom;
  const steps = panels.flatMap(({ lines }) => lines.flatMap(({ x }) => x));
  const xAxis = axis(steps, [SIZE.left, WIDTH - SIZE.right], 8, 1);
  const drawn = panels.map((panel, n) => {
    const top = SIZE.top + n * (SIZE.panel + SIZE.gap);
    return panelSvg(panel, top, xAxis, n === panels.length - 1);
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="${SIZE.font}" fill="${INK}">${drawn.join('')}</svg>`;
  return `<img width="${WIDTH}" height="${height}" alt="Curves" src="data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}">`;
}

function panelSvg({ name, lines }: Panel, top: number, xAxis: Axis, labelSteps: boolean): string {
  const bottom = top + SIZE.panel;
  const yAxis = axis(lines.flatMap(({ y }) => y), [bottom, top], 5);
  const [left, right] = [SIZE.left, WIDTH - SIZE.right];
  const rows = yAxis.ticks.map((tick) => `${rule(left, yAxis.at(tick), right, yAxis.at(tick))}${text(left - 6, yAxis.at(tick) + 4, label(tick), 'end')}`);
  const columns = xAxis.ticks.map((tick) => `${rule(xAxis.at(tick), top, xAxis.at(tick), bottom)}${labelSteps ? text(xAxis.at(tick), bottom + 18, label(tick), 'middle') : ''}`);
  const heading = text(left, top - 8, name, 'start') + legend(lines, right, top - 8);
  const foot = labelSteps ? text((left + right) / 2, bottom + 40, 'step', 'middle') : '';
  return [...rows, ...columns, heading, foot, ...lines.map((line) => lineSvg(line, xAxis, yAxis))].join('');
}

function lineSvg({ color, dots, x, y }: Line, xAxis: Axis, yAxis: Axis): string {
  const places = x.map((step, n) => [xAxis.at(step).toFixed(1), yAxis.at(y[n]!).toFixed(1)] as const);
  const marks = dots ? places.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="2.5" fill="${color}"/>`) : [];
  return `<polyline points="${places.map((place) => place.join()).join(' ')}" fill="none" stroke="${color}" stroke-width="2" stroke-linejoin="round"/>${marks.join('')}`;
}

/** Names from right to left, each after a piece of its line. */
function legend(lines: readonly Line[], right: number, y: number): string {
  let end = right;
  return [...lines].reverse().filter(({ name }) => name !== '').map(({ name, color }) => {
    const start = end - name.length * 0.55 * SIZE.font; // about its width
    end = start - 50;
    return `<path d="M${(start - 30).toFixed(1)} ${y - 4}h24" stroke="${color}" stroke-width="2"/>${text(start, y, name, 'start')}`;
  }).join('');
}

interface Axis {
  readonly ticks: readonly number[];
  /** Pixels. */
  at(value: number): number;
}

/** @param smallest between two ticks; default: none. */
function axis(values: readonly number[], [from, to]: readonly [number, number], count: number, smallest = 0): Axis {
  let [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  if (!(low < high)) [low, high] = low === high ? [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2] : [0, 1];
  const margin = (high - low) * 0.05;
  [low, high] = [low - margin, high + margin];
  const rough = (high - low) / count;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const unit = Math.max(smallest, decade * ([1, 2, 5, 10].find((step) => step * decade >= rough) ?? 10));
  const ticks = Array.from({ length: Math.floor(high / unit) - Math.ceil(low / unit) + 1 }, (_, n) => (Math.ceil(low / unit) + n) * unit);
  return { ticks, at: (value) => from + ((value - low) / (high - low)) * (to - from) };
}

const rule = (x1: number, y1: number, x2: number, y2: number): string => `<path d="M${x1.toFixed(1)} ${y1.toFixed(1)}L${x2.toFixed(1)} ${y2.toFixed(1)}" stroke="${GRID}"/>`;

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end'): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escaped}</text>`;
}

/** A tick's number without the noise of its last bits. */
function label(tick: number): string {
  return `${Number(tick.toPrecision(6))}`.replace('-', '−');
}

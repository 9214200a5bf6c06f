/** The trace types that plotly.js-dist 4.1 draws. It silently treats any other as a scatter. */
import type { TraceType } from 'plotly.js-dist';

import { InputError, quoted } from '../errors';

/** Checked against plotly.js's own types: this file does not compile if a trace type is missing or unknown. */
const KNOWN = {
  bar: 0,
  barpolar: 0,
  box: 0,
  candlestick: 0,
  carpet: 0,
  choropleth: 0,
  choroplethmap: 0,
  cone: 0,
  contour: 0,
  contourcarpet: 0,
  densitymap: 0,
  funnel: 0,
  funnelarea: 0,
  heatmap: 0,
  histogram: 0,
  histogram2d: 0,
  histogram2dcontour: 0,
  icicle: 0,
  image: 0,
  indicator: 0,
  isosurface: 0,
  mesh3d: 0,
  ohlc: 0,
  parcats: 0,
  parcoords: 0,
  pie: 0,
  quiver: 0,
  sankey: 0,
  scatter: 0,
  scatter3d: 0,
  scattercarpet: 0,
  scattergeo: 0,
  scattergl: 0,
  scattermap: 0,
  scatterpolar: 0,
  scatterpolargl: 0,
  scattersmith: 0,
  scatterternary: 0,
  splom: 0,
  streamtube: 0,
  sunburst: 0,
  surface: 0,
  table: 0,
  treemap: 0,
  violin: 0,
  volume: 0,
  waterfall: 0,
} satisfies Record<TraceType, 0>;

export const TRACE_TYPES: readonly string[] = Object.keys(KNOWN);

/** Types that people write or that older versions of plotly.js had, and what to write instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  line: "type: 'scatter' with mode: 'lines'",
  lines: "type: 'scatter' with mode: 'lines'",
  points: "type: 'scatter' with mode: 'markers'",
  markers: "type: 'scatter' with mode: 'markers'",
  area: "type: 'scatter' with fill: 'tozeroy'",
  column: "type: 'bar'",
  hist: "type: 'histogram'",
  heatmapgl: "type: 'heatmap'",
  pointcloud: "type: 'scattergl'",
  scattermapbox: "type: 'scattermap'",
  choroplethmapbox: "type: 'choroplethmap'",
  densitymapbox: "type: 'densitymap'",
};

/**
 * @param path the path of the trace, such as `data[0]`.
 * @throws InputError if plotly has no trace of that type.
 */
export function checkTraceType(type: unknown, path: string): void {
  if (type === undefined || type === null || (typeof type === 'string' && Object.hasOwn(KNOWN, type))) return;
  const instead = typeof type === 'string' && Object.hasOwn(INSTEAD, type) ? `${INSTEAD[type]}; plotly has` : 'one of';
  throw new InputError(
    `${path}.type is ${typeof type === 'string' ? quoted(type) : `a ${typeof type}`}, which plotly cannot draw; ` +
      `write ${instead} ${TRACE_TYPES.join(', ')}`,
  );
}

/** The common style of figures: colors that everyone can distinguish, on a transparent background. */

/**
 * Okabe and Ito's color-blind safe palette (https://jfly.uni-koeln.de/color/), starting with the colors that stand out
 * on both white and black.
 */
export const PALETTE = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'] as const;
/** Color of text and lines, readable in JupyterLab's light and dark themes. */
export const INK = '#7f7f7f';

const NONE = 'rgba(0, 0, 0, 0)';
const GRID = 'rgba(128, 128, 128, 0.25)';
const TEXT = 13;
const axis = {
  gridcolor: GRID,
  zerolinecolor: GRID,
  linecolor: GRID,
  exponentformat: 'power',
  title: { font: { size: TEXT } },
};

/**
 * The style as a plotly template (https://plotly.com/javascript/layout-template/): a figure's own settings take
 * precedence.
 */
export const TEMPLATE = {
  layout: {
    paper_bgcolor: NONE,
    plot_bgcolor: NONE,
    colorway: PALETTE,
    font: { color: INK, size: TEXT },
    title: { font: { size: 16 } },
    legend: { bgcolor: NONE },
    hoverlabel: { bgcolor: '#ffffff', font: { color: '#333333' } },
    annotationdefaults: { font: { size: TEXT } },
    xaxis: axis,
    yaxis: axis,
  },
} as const;

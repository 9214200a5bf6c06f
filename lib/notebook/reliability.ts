/** Plots how well calibrated a reward model is, as a plotly figure: plain data, for `show`. */
import type { Calibration } from '../training/calibration';
import type { Figure } from './figure';
import { page } from './panels';
import { INK, PALETTE } from './style';

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

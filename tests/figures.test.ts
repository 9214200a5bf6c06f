/** Plotly figures, and their images. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import sharp from 'sharp';
import { bands, calibration, curves, reliability, type DataReport, type Figure, type Panels } from 'alignbook';
import { figureImage } from 'alignbook/dist/notebook/image';
import { describePanels } from 'alignbook/dist/notebook/panels';
import { figureContent } from 'alignbook/dist/notebook/show';
import { lengthsFigure } from 'alignbook/dist/notebook/showData';

import { root } from '../scripts/paths';

interface Trace {
  name: string;
  showlegend: boolean;
  yaxis: string;
  legend: string;
  mode: string;
  x: number[];
  y: number[];
  line: { color: string };
}
const traces = ({ data }: Figure) => data as Trace[];
const layoutOf = ({ layout }: Figure) => layout as unknown;

interface Step {
  step: number;
  loss: number;
  rewards: { chosen: number; rejected: number };
  validation?: number;
}
const history: Step[] = Array.from({ length: 120 }, (_, n) => ({
  step: n + 1,
  loss: 1 / (n + 3),
  rewards: { chosen: n / 10, rejected: -n / 10 },
  ...((n + 1) % 40 === 0 && { validation: 0.5 - n / 1000 }),
}));
const panels: Panels<Step> = {
  'loss (nats)': { training: (s) => s.loss, validation: (s) => s.validation },
  rewards: { chosen: (s) => s.rewards.chosen, rejected: (s) => s.rewards.rejected },
  lr: () => 1e-5,
};

test("each curve is in its panel, in colours of its own; a panel's only curve needs no legend", () => {
  const figure = curves(history, panels, { title: 'A run' });
  assert.deepEqual(
    traces(figure).map(({ name, yaxis, legend, showlegend }) => [name, yaxis, legend, showlegend]),
    [
      ['training', 'y', 'legend', true],
      ['validation', 'y', 'legend', true],
      ['chosen', 'y2', 'legend2', true],
      ['rejected', 'y2', 'legend2', true],
      ['lr', 'y3', 'legend3', false],
    ],
  );
  assert.equal(
    new Set(
      traces(figure)
        .slice(0, 2)
        .map(({ line }) => line.color),
    ).size,
    2,
  );
  const layout = layoutOf(figure) as Record<string, { domain: [number, number]; anchor: string; text: string }> & {
    annotations: { text: string }[];
  };
  assert.deepEqual(
    layout.annotations.map(({ text }) => text),
    ['loss (nats)', 'rewards', 'lr'],
  );
  assert.equal(layout['xaxis']!.anchor, 'y3');
  assert.equal(layout['title']!.text, 'A run');
  const domains = ['yaxis', 'yaxis2', 'yaxis3'].map((name) => layout[name]!.domain);
  assert.equal(domains[0]![1], 1);
  assert.ok(
    domains[0]![0] > domains[1]![1] && domains[1]![0] > domains[2]![1] && domains[2]![0] >= 0 && domains[2]![0] < 1e-9,
  );
});

test('points may be missing; values have six digits', () => {
  const [training, validation] = traces(curves(history, panels)) as [Trace, Trace];
  assert.deepEqual(
    [validation.x, validation.y, validation.mode],
    [[40, 80, 120], [0.461, 0.421, 0.381], 'lines+markers'],
  );
  assert.deepEqual([training.x.length, training.y[0], training.mode], [120, 0.333333, 'lines']);
  const [broken] = traces(
    curves(
      [
        { step: 1, loss: NaN },
        { step: 2, loss: 3 },
      ],
      { loss: (s) => s.loss },
    ),
  ) as [Trace];
  assert.deepEqual([broken.x, broken.y], [[2], [3]]);
});

test('a long run is thinned out evenly, to its last step', () => {
  const long = Array.from({ length: 9003 }, (_, n) => ({ step: n + 1 }));
  const [line] = traces(curves(long, { step: ({ step }) => step })) as [Trace];
  assert.deepEqual([line.x.length, line.x.slice(0, 2), line.x.at(-1)], [1802, [1, 6], 9003]);
});

test(
  'what is shown has a style: nothing paints over the page, ' +
    'readable on white and on black; its own says the figure',
  () => {
    const shown = (figure: Figure) =>
      figureContent(figure, 'curves').data['application/vnd.plotly.v1+json'] as {
        layout: {
          template: {
            layout: { paper_bgcolor: string; plot_bgcolor: string; font: { color: string }; colorway: string[] };
          };
        };
      };
    const { paper_bgcolor, plot_bgcolor, font, colorway } = shown({ data: [] }).layout.template.layout;
    assert.deepEqual([paper_bgcolor, plot_bgcolor], ['rgba(0, 0, 0, 0)', 'rgba(0, 0, 0, 0)']);
    for (const page of ['#ffffff', '#111111']) {
      assert.ok(contrast(font.color, page) >= 3.9, `text on ${page}`);
      for (const color of [...colorway.slice(0, 3), ...traces(curves(history, panels)).map(({ line }) => line.color)])
        assert.ok(contrast(color, page) >= 3, `${color} on ${page}`);
    }
    const own = { data: [], layout: { template: 'none', height: 300 } };
    assert.deepEqual(shown(own), own);
  },
);

/** WCAG's contrast ratio, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio. */
function contrast(one: string, other: string): number {
  const luminance = (colour: string) => {
    const [r, g, b] = [1, 3, 5]
      .map((at) => parseInt(colour.slice(at, at + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)) as [number, number, number];
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

test('words for the curves name steps, panels and curves', () => {
  assert.equal(
    describePanels(history, panels),
    'Curves of steps 1 to 120: loss (nats) (training, validation); rewards (chosen, rejected); lr.',
  );
});

test('a reliability figure has the diagonal, and a dot for each bin with its number of pairs', () => {
  const made = calibration([Math.log(3), Math.log(3), Math.log(3), -Math.log(3), 5]);
  const figure = reliability(made);
  const [line, dots] = figure.data as unknown as (Trace & { text: string[] })[];
  assert.deepEqual(
    [line!.x, line!.y],
    [
      [0.5, 1],
      [0.5, 1],
    ],
  );
  assert.deepEqual(
    [dots!.x, dots!.y, dots!.text],
    [
      [0.75, 0.993307],
      [0.75, 1],
      ['4', '1'],
    ],
  );
  assert.ok(contrast((dots as unknown as { marker: { color: string } }).marker.color, '#ffffff') >= 3);
  assert.doesNotThrow(() => JSON.stringify(figure));
});

test('bands: a line through the means of the seeds, around it what they reach, a colour for each group', () => {
  const at = (...ys: number[]) => ys.map((y, n) => ({ x: n, y }));
  const figure = bands(
    [
      {
        name: 'β 0.1',
        group: 'DPO',
        runs: [
          at(0, 1),
          at(0, 3),
          [
            { x: 0, y: 0 },
            { x: 4, y: 5 },
          ],
        ],
      },
      { name: 'β 1', group: 'DPO', runs: [at(0, 1)] },
      { name: 'best-of-n', runs: [at(0, 2)] },
    ],
    { x: 'KL (nats)', y: 'reward' },
  );
  const [band, mean, , other, , last] = figure.data as (Trace & { line: { dash: string }; legendgroup: string })[];
  assert.deepEqual(
    [band!.x, band!.y],
    [
      [0, 2, 2, 0],
      [0, 5, 1, 0],
    ],
  );
  assert.deepEqual(
    [mean!.x, mean!.y],
    [
      [0, 2],
      [0, 3],
    ],
  );
  assert.deepEqual(
    [mean, other, last].map((line) => line!.name),
    ['DPO, β 0.1', 'DPO, β 1', 'best-of-n'],
  );
  assert.equal(mean!.line.color, other!.line.color);
  assert.notEqual(mean!.line.dash, other!.line.dash);
  assert.notEqual(mean!.line.color, last!.line.color);
  assert.equal(band!.legendgroup, mean!.legendgroup); // so that a click hides both
  assert.throws(
    () => bands([{ name: 'none', runs: [] }], { x: '', y: '' }),
    /the runs of "none" must have the same points/,
  );
  assert.throws(() => bands([{ name: 'odd', runs: [at(0, 1), at(0)] }], { x: '', y: '' }), { name: 'InputError' });
});

const report: DataReport = {
  kinds: { pair: 3, labeled: 0, response: 1, prompt: 0, text: 0 },
  wrong: [],
  promptLengths: [5, 5, 7, 4],
  chosenLengths: [2, 3, 42],
  rejectedLengths: [4, 4, 3],
  responseLengths: [9],
  textLengths: [],
  ...{ blockSize: 64, tooLong: 0, splitTexts: 0, duplicates: 0, repeatedPrompts: 0, longerChosen: 1, equallyLong: 1 },
  ...{ desirable: 0, merges: undefined, rendering: undefined, examples: [] },
};

test('lengths of a file of rows: prompts in one panel, responses in the next, in bins that they share', () => {
  const figure = lengthsFigure(report);
  const [prompt, chosen, rejected, response] = figure.data as unknown as (Trace & {
    xaxis: string;
    hovertext: string[];
    marker: { color: string };
  })[];
  assert.deepEqual([prompt!.x, prompt!.y, prompt!.xaxis, prompt!.showlegend], [[4, 5, 6, 7], [1, 2, 0, 1], 'x', false]);
  // 41 lengths, from 2 to 42, in 14 bins of three
  assert.deepEqual([chosen!.x.length, chosen!.x.slice(0, 3), chosen!.x.at(-1)], [14, [3, 6, 9], 42]);
  assert.deepEqual(chosen!.hovertext.slice(0, 2), ['2 to 4', '5 to 7']);
  assert.deepEqual([chosen!.y[0], chosen!.y.at(-1), rejected!.y[0], response!.y[2]], [2, 1, 3, 1]);
  for (const trace of [chosen, rejected, response]) {
    assert.deepEqual([trace!.x, trace!.xaxis, trace!.yaxis, trace!.legend], [chosen!.x, 'x2', 'y2', 'legend2']);
    assert.equal(trace!.y.length, 14);
  }
  for (const { marker } of [prompt!, chosen!, rejected!, response!])
    for (const page of ['#ffffff', '#111111'])
      assert.ok(contrast(marker.color, page) >= 3, `${marker.color} on ${page}`);
  const layout = layoutOf(figure) as { annotations: { text: string }[]; height: number; xaxis2: { anchor: string } };
  assert.deepEqual(
    [layout.annotations.map(({ text }) => text), layout.xaxis2.anchor],
    [['rows by the length of their prompt', 'rows by the length of their response'], 'y2'],
  );
  const texts = { ...report, promptLengths: [], chosenLengths: [], rejectedLengths: [], responseLengths: [] };
  const [text, ...others] = lengthsFigure({ ...texts, textLengths: [7] }).data as unknown as (Trace & {
    xaxis: string;
  })[];
  assert.deepEqual([text!.x, text!.y, text!.xaxis, others], [[7], [1], 'x', []]);
});

/** Where set-up installed kaleido, as it tells the kernel. */
function kaleido(): string {
  const spec = join(root, '.alignbook', 'python', 'share', 'jupyter', 'kernels', 'tslab', 'kernel.json');
  return (JSON.parse(readFileSync(spec, 'utf8')) as { env: Record<string, string> }).env['ALIGNBOOK_KALEIDO']!;
}

/** Red, green, blue and alpha of each. */
async function pixelsOf(image: string): Promise<number[][]> {
  const { data } = await sharp(Buffer.from(image, 'base64')).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  return Array.from({ length: data.length / 4 }, (_, n) => [...data.subarray(4 * n, 4 * n + 4)]);
}

/** The number of pixels of about this color, #rrggbb. */
const near = (pixels: readonly number[][], color: string) =>
  pixels.filter(
    ([r, g, b, a]) =>
      a! > 200 &&
      [r, g, b].every((value, n) => Math.abs(value! - parseInt(color.slice(1 + 2 * n, 3 + 2 * n), 16)) < 24),
  ).length;

test('an image of a figure: its size, its colours, nothing behind it; the same bytes again', async () => {
  process.env['ALIGNBOOK_KALEIDO'] = kaleido();
  const figure = curves(history, {
    loss: (s) => s.loss,
    rewards: { chosen: (s) => s.rewards.chosen, rejected: (s) => s.rewards.rejected },
  });
  const draw = () => figureContent(figure, 'curves').data['image/png'] as string;
  const image = draw();
  const { width, height } = await sharp(Buffer.from(image, 'base64')).metadata();
  assert.deepEqual([width, height], [720, (layoutOf(figure) as { height: number }).height]);
  const pixels = await pixelsOf(image);
  for (const { line } of traces(figure))
    assert.ok(near(pixels, line.color) > 300, `${near(pixels, line.color)} pixels of ${line.color}`);
  assert.ok(pixels.filter(([, , , a]) => a === 0).length > 0.8 * pixels.length);
  assert.ok(image.length < 40_000, `${image.length} characters`);
  assert.equal(draw(), image);
});

test('in an image, five groups whose bands lie on each other keep their five colors', async () => {
  process.env['ALIGNBOOK_KALEIDO'] = kaleido();
  const frontier = join(root, 'notebooks', '11-dpo-or-ppo.ipynb');
  const { cells } = JSON.parse(readFileSync(frontier, 'utf8')) as {
    cells: { id: string; outputs?: { data: { 'application/vnd.plotly.v1+json': Figure } }[] }[];
  };
  const figure = cells.find(({ id }) => id === 'frontier')!.outputs![0]!.data['application/vnd.plotly.v1+json'];
  const lines = traces(figure).filter(({ mode }) => mode === 'lines+markers');
  const colors = new Set(lines.map(({ line }) => line.color));
  assert.equal(colors.size, 5);
  const pixels = await pixelsOf(figureImage(figure)!);
  for (const color of colors) assert.ok(near(pixels, color) > 300, `${near(pixels, color)} pixels of ${color}`);
});

/** The kaleido that this process started: Linux tells the parent after the program's name and state. */
const running = (): number[] =>
  readdirSync('/proc')
    .filter((id) => {
      try {
        const [, parent] = /\) \S (\d+) /.exec(readFileSync(`/proc/${id}/stat`, 'latin1')) ?? [];
        return Number(parent) === process.pid && readFileSync(`/proc/${id}/cmdline`, 'latin1').includes('/bin/kaleido');
      } catch {
        return false; // no process, or one that has ended
      }
    })
    .map(Number);

test('one kaleido draws many figures; where it ends, another one does', () => {
  process.env['ALIGNBOOK_KALEIDO'] = kaleido();
  const figure: Figure = { data: [{ y: [1, 2] }] };
  const image = figureImage(figure);
  const [first] = running();
  assert.equal(figureImage(figure), image);
  assert.deepEqual(running(), [first]);
  process.kill(first!, 'SIGKILL');
  assert.equal(figureImage(figure), image);
  assert.equal(running().filter((id) => id !== first).length, 1);
});

test('without kaleido there is no image; where it fails, the reason is said', () => {
  const program =
    `require('alignbook/dist/notebook/image').figureImage({ ` + `data: [{ y: [1, 2] }] }) ?? console.log('no image')`;
  const draw = (folder?: string) =>
    spawnSync(process.execPath, ['-e', program], {
      env: { ...process.env, ALIGNBOOK_KALEIDO: folder },
      encoding: 'utf8',
    });
  const without = draw();
  assert.deepEqual([without.stdout, without.stderr], ['no image\n', '']);
  const failed = draw('/nowhere');
  assert.equal(failed.stdout, 'no image\n');
  assert.equal(
    failed.stderr,
    'this figure has no image, and shows only where plotly runs: spawn /nowhere/bin/kaleido ENOENT\n',
  );
});

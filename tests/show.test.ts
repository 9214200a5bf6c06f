/**
 * What `show` turns the values of a figure into: plain data for plotly, or one line that names the field. The expected
 * values are written by hand.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { dataReport, showData, tf, Tokenizer, withSlider, type Figure } from 'alignbook';
import { plainFigure } from 'alignbook/dist/notebook/plainFigure';
import { figureContent } from 'alignbook/dist/notebook/show';
import { TRACE_TYPES } from 'alignbook/dist/notebook/traceTypes';

import { root } from '../scripts/paths';
import { kernel, type Reply, type Seen } from './kernel';
import { matching } from './matching';

/** The values as JSON carries them to plotly. */
const sent = (figure: unknown) =>
  JSON.parse(JSON.stringify(figureContent(figure as Figure, '').data['application/vnd.plotly.v1+json'])) as {
    data: Record<string, unknown>[];
    layout: Record<string, unknown>;
    frames?: unknown[];
  };
const y = (values: unknown) => sent({ data: [{ y: values }] }).data[0]!['y'];
const refusal = (figure: unknown): string => {
  try {
    plainFigure(figure as Figure);
  } catch (error) {
    assert.equal((error as Error).name, 'InputError');
    assert.doesNotMatch((error as Error).message, /\n/);
    return (error as Error).message;
  }
  return 'accepted';
};

test('typed arrays of every kind become lists', () => {
  for (const Kind of [
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
  ])
    assert.deepEqual(y(new Kind([3, 1, 2])), [3, 1, 2], Kind.name);
  assert.deepEqual(y(Buffer.from([3, 1, 2])), [3, 1, 2]);
  assert.deepEqual(y(new Float32Array([9, 8, 7, 6]).subarray(1, 3)), [8, 7]);
  assert.deepEqual(y(tf.tensor1d([0.5, 0.25]).dataSync()), [0.5, 0.25]);
  assert.deepEqual(y(tf.tensor1d([1, 2], 'int32').dataSync()), [1, 2]);
});

test('frames are plain data, too, and need a name', () => {
  const states = [0.1, 0.5].map((beta) => ({ name: `${beta}`, data: [{ y: new Float32Array([beta, NaN]) }] }));
  const { data, layout, frames } = sent(
    withSlider({ data: [{ x: [1, 2], name: 'loss' }], layout: { title: 'Loss' } }, states, { label: 'β = ', start: 1 }),
  );
  assert.deepEqual(data, [{ x: [1, 2], name: 'loss', y: [0.5, null] }]);
  assert.deepEqual(frames, [
    { name: '0.1', data: [{ y: [0.1, null] }] },
    { name: '0.5', data: [{ y: [0.5, null] }] },
  ]);
  assert.deepEqual(layout['title'], { text: 'Loss' });
  const [slider] = layout['sliders'] as [
    { active: number; steps: { label: string; method: string; args: unknown[][] }[] },
  ];
  assert.equal(slider.active, 1);
  assert.deepEqual(
    slider.steps.map(({ label, method, args }) => [label, method, args[0]]),
    [
      ['0.1', 'animate', ['0.1']],
      ['0.5', 'animate', ['0.5']],
    ],
  );
  assert.deepEqual(plainFigure({ data: [], frames: [{ name: 'a' }] }), { data: [], frames: [{ name: 'a' }] });
  assert.match(refusal({ data: [], frames: {} }), /^frames is an object; give a list of states/);
  assert.match(refusal({ data: [], frames: [{ data: [] }] }), /^frames\[0\] has no name/);
  assert.match(
    refusal({ data: [], frames: [{ name: 'a', data: [{ y: tf.zeros([2]) }] }] }),
    /^frames\[0\]\.data\[0\]\.y is/,
  );
  const slide = (names: readonly string[], start?: number) => () =>
    withSlider(
      { data: [] },
      names.map((name) => ({ name })),
      { label: '', ...(start !== undefined && { start }) },
    );
  assert.throws(slide(['a', 'a']), /two states of the slider have one name: a, a/);
  assert.throws(slide(['a'], 1), /has 1 states?, so it cannot start at index 1/);
  assert.throws(slide([]), /cannot start at index 0/);
});

test('at any depth, in traces and in the layout', () => {
  const { data, layout } = sent({
    data: [
      {
        z: [new Float32Array([1, 2]), new Int32Array([3, 4])],
        marker: { color: new Float32Array([5]), line: { width: new Uint8Array([6]) } },
        customdata: [[new Float32Array([7])]],
      },
    ],
    layout: { xaxis: { range: new Float32Array([0, 8]), tickvals: new Int16Array([9]) }, shapes: [{ x0: 1 }] },
  });
  assert.deepEqual(data, [
    {
      z: [
        [1, 2],
        [3, 4],
      ],
      marker: { color: [5], line: { width: [6] } },
      customdata: [[[7]]],
    },
  ]);
  assert.deepEqual([layout['xaxis'], layout['shapes']], [{ range: [0, 8], tickvals: [9] }, [{ x0: 1 }]]);
});

test('numbers of 32 bits have as few digits as tell them from their neighbors', () => {
  const values = [0.1, 1 / 3, 0.6931471805599453, 16777216, 16777218, 1e-45, 3.4028234663852886e38, -97.0123];
  const written = y(new Float32Array(values)) as number[];
  // The shortest forms of float32's 0.333333343…, 0.693147182…, the largest number, and the first even number above
  // 2^24.
  assert.deepEqual(written, [0.1, 0.33333334, 0.6931472, 16777216, 16777218, 1.4013e-45, 3.4028235e38, -97.0123]);
  assert.deepEqual([...new Float32Array(written)], [...new Float32Array(values)]);
  assert.deepEqual(y(new Float64Array([0.1 + 0.2])), [0.30000000000000004]);
});

test('what is no number is a gap', () => {
  assert.deepEqual(y([1, NaN, Infinity, -Infinity, undefined, null, 2]), [1, null, null, null, null, null, 2]);
  assert.deepEqual(y(new Float32Array([1, NaN, Infinity, -Infinity])), [1, null, null, null]);
  assert.deepEqual(y(new Float64Array([NaN, 1])), [null, 1]);
  assert.deepEqual(plainFigure({ data: [{ y: [NaN, 1] }, { y: new Float32Array([Infinity]) }] }).data, [
    { y: [null, 1] },
    { y: [null] },
  ]); // otherwise JSON would turn it into that
});

test('a Date is the time that it shows here, as in plotly.js; texts, booleans and other fields stay', () => {
  assert.deepEqual(y([new Date(2026, 0, 2, 3, 4, 5, 6), new Date(NaN)]), ['2026-01-02 03:04:05.006', null]);
  const figure = {
    data: [{ type: 'bar', x: ['a', 'b'], y: [1, 2], visible: false, text: '' }],
    layout: { template: 'none', height: 300, showlegend: true },
  };
  assert.deepEqual(sent(figure), figure);
});

test(
  'a title may be its text: of the figure, an axis, a ' + "colorbar, a legend; titles among the reader's own data stay",
  () => {
    const { data, layout } = sent({
      data: [
        { type: 'heatmap', z: [[1]], colorbar: { title: 'nats' }, customdata: [{ title: 'mine' }] },
        { type: 'pie', values: [1], title: 'parts' },
      ],
      layout: {
        title: 'Loss',
        xaxis: { title: 'step' },
        yaxis2: { title: { text: 'nats' } },
        legend: { title: 'run' },
        scene: { zaxis: { title: 7 } },
        coloraxis: { colorbar: { title: '' } },
        meta: { title: 'mine' },
      },
    });
    assert.deepEqual(data, [
      { type: 'heatmap', z: [[1]], colorbar: { title: { text: 'nats' } }, customdata: [{ title: 'mine' }] },
      { type: 'pie', values: [1], title: { text: 'parts' } },
    ]);
    const { template, ...rest } = layout;
    assert.ok(template);
    assert.deepEqual(rest, {
      title: { text: 'Loss' },
      xaxis: { title: { text: 'step' } },
      yaxis2: { title: { text: 'nats' } },
      legend: { title: { text: 'run' } },
      scene: { zaxis: { title: { text: '7' } } },
      coloraxis: { colorbar: { title: { text: '' } } },
      meta: { title: 'mine' },
    });
  },
);

const circle: { data: object[] } = { data: [] };
circle.data.push({ y: [1], customdata: circle });
const refused: [figure: unknown, message: RegExp][] = [
  [
    { data: [{ y: tf.tensor1d([1, 2]) }] },
    /^data\[0\]\.y is a tensor of shape \[2\]; take its values with await y\.data\(\)$/,
  ],
  [
    { data: [{}, { z: tf.zeros([2, 3]) }] },
    /^data\[1\]\.z is a tensor of shape \[2, 3\]; take its values with await z\.array\(\)$/,
  ],
  [{ data: [{ y: tf.variable(tf.scalar(1)) }] }, /^data\[0\]\.y is a tensor of shape \[\]/],
  [{ data: [{ marker: { size: [1, tf.scalar(2)] } }] }, /^data\[0\]\.marker\.size\[1\] is a tensor/],
  [
    { data: [{ y: Promise.resolve([1]) }] },
    /^data\[0\]\.y is a Promise, whose value is still to come; wait for it: await y$/,
  ],
  [{ data: [{ y: new BigInt64Array([1n]) }] }, /^data\[0\]\.y is a BigInt64Array, .*Array\.from\(y, Number\)$/],
  [{ data: [{ y: new BigUint64Array([1n]) }] }, /^data\[0\]\.y is a BigUint64Array/],
  [{ data: [{ y: [1, 2n] }] }, /^data\[0\]\.y\[1\] is a BigInt, .*Number\(…\)$/],
  [{ data: [{ y: () => [1] }] }, /^data\[0\]\.y is a function/],
  [{ data: [{ name: Symbol('x') }] }, /^data\[0\]\.name is a Symbol/],
  [{ data: [{ y: new Set([1]) }] }, /^data\[0\]\.y is a Set, .*\[\.\.\.y\]$/],
  [{ data: [{ y: new Map([[1, 2]]) }] }, /^data\[0\]\.y is a Map, .*\[\.\.\.y\.keys\(\)\]/],
  [{ data: [{ y: new Map([[1, 2]]).values() }] }, /^data\[0\]\.y is an iterator/],
  [{ data: [{ y: new ArrayBuffer(4) }] }, /^data\[0\]\.y is bytes without a type/],
  [{ data: [{ y: new DataView(new ArrayBuffer(4)) }] }, /^data\[0\]\.y is bytes without a type/],
  [{ data: [{ name: /x/ }] }, /^data\[0\]\.name is an object of kind RegExp/],
  [{ data: [{ text: new Error('x') }] }, /^data\[0\]\.text is an object of kind Error/],
  [circle, /^data\[0\]\.customdata is an object that it lies in itself/],
  [{ data: [], layout: { 'x-axis': { range: tf.zeros([2]) } } }, /^layout\["x-axis"\]\.range is a tensor/],
  [{ data: [], layout: Promise.resolve({}) }, /^layout is a Promise/],
  [{ data: [Promise.resolve({})] }, /^data\[0\] is a Promise/],
  [{ data: Promise.resolve([]) }, /^data is a Promise/],
  [{ data: { y: [1] } }, /^data is an object; give show a list of traces/],
  [{ data: [[1, 2]] }, /^data\[0\] is a list; a trace is an object/],
  [{ data: [null] }, /^data\[0\] is null; a trace is an object/],
  [{}, /^data is missing/],
  [Promise.resolve({ data: [] }), /^the figure is a Promise/],
  [tf.zeros([3]), /^the figure is a tensor/],
  [
    { data: [{ type: 'line', y: [1] }] },
    matching(
      /^data\[0\]\.type is "line", which plotly cannot draw; write type: 'scatter' with mode: 'lines';/,
      / plotly has bar, barpolar, /,
    ),
  ],
  [
    { data: [{}, { type: 'scater' }] },
    /^data\[1\]\.type is "scater", which plotly cannot draw; write one of bar, barpolar, .*, scatter, .*, waterfall$/,
  ],
  [{ data: [{ type: 'scattermapbox' }] }, /type: 'scattermap'/],
  [{ data: [{ type: 'toString' }] }, /"toString", which plotly cannot draw/],
  [{ data: [{ type: 7 }] }, /^data\[0\]\.type is a number/],
];
test('what cannot be drawn is refused by its path, with what to write instead', () => {
  for (const [figure, message] of refused) assert.match(refusal(figure), message);
});

test('the same object in two places is no circle', () => {
  const line = { color: 'red' };
  assert.equal(refusal({ data: [{ line }, { line }], layout: { a: [line, line] } }), 'accepted');
});

test('the known traces are those that plotly.js registers', () => {
  const source = readFileSync(require.resolve('plotly.js-dist'), 'utf8');
  const registered = [...source.matchAll(/moduleType: "trace",\s+name: "(\w+)"/g)].map(([, name]) => name);
  assert.ok(registered.length > 40);
  assert.deepEqual([...TRACE_TYPES].sort(), registered.sort());
});

test('plotly draws a typed array as it draws the list', () => {
  const spec = join(root, '.alignbook', 'python', 'share', 'jupyter', 'kernels', 'tslab', 'kernel.json');
  process.env['ALIGNBOOK_KALEIDO'] = (JSON.parse(readFileSync(spec, 'utf8')) as { env: Record<string, string> }).env[
    'ALIGNBOOK_KALEIDO'
  ]!;
  const image = (figure: unknown) => figureContent(figure as Figure, '').data['image/png'];
  const drawn = image({ data: [{ y: new Float32Array([3, 1, NaN, 2]) }], layout: { title: 'Loss' } });
  assert.ok(drawn);
  assert.equal(drawn, image({ data: [{ y: [3, 1, null, 2] }], layout: { title: { text: 'Loss' } } }));
  assert.notEqual(drawn, image({ data: [{ y: [0, 1, 2, 3] }], layout: { title: { text: 'Loss' } } }));
  assert.notEqual(drawn, image({ data: [{ y: [3, 1, null, 2] }] }));
});

// In a notebook's cells, with the TypeScript of tslab.

const folder = mkdtempSync(join(tmpdir(), 'show-'));
after(() => rmSync(folder, { recursive: true }));
const rows = join(folder, 'rows.jsonl');
writeFileSync(
  rows,
  [
    { prompt: 'One two', chosen: ' three four', rejected: ' three' },
    { prompt: 'One', chosen: ' two', rejected: ' three' },
    { prompt: 'One', chosen: ' two' },
  ]
    .map((row) => JSON.stringify(row))
    .join('\n'),
);

const complete = (code: string) => ({ request: 'complete_request', content: { code, cursor_pos: code.length } });
const cells = {
  import: { code: "import { show, tf } from 'alignbook';\nconst losses = tf.tensor1d([3, 1, 2]);" },
  typed: {
    code:
      "show({ data: [{ type: 'scatter', y: losses.dataSync() }], layout: { title: 'Loss', legend: { title: 'run' } " +
      "} }, 'a line');",
  },
  apart: {
    code:
      "const trace = { type: 'bar', y: [1, 2], marker: { color: 'red' } };\nconst layout = { legend: { " +
      "orientation: 'h' }, xaxis: { range: [0, 1], title: 'k' } };\nshow({ data: [trace], layout: layout }, " +
      "'bars');",
  },
  untyped: {
    code:
      'const some: object[] = [{ y: [2] }];\nconst other: object = { height: 300 };\nshow({ data: some, layout: ' +
      "other }, 'a point');",
  },
  tensor: { code: "show({ data: [{ y: losses }] }, '');" },
  promise: { code: "show({ data: [{ y: losses.data() }] }, '');" },
  field: { code: "show({ data: [{ type: 'scatter', yy: [1] }] }, '');" },
  axis: { code: "show({ data: [], layout: { xaxis: { titel: 'step' } } }, '');" },
  value: { code: "show({ data: [{ type: 'bar', y: 'abc' }] }, '');" },
  data: {
    code: [
      "import { dataReport, showData, Tokenizer } from 'alignbook';",
      "const tokenizer: Tokenizer = await Tokenizer.fromPretrained('tiny');",
      `showData(await dataReport(${JSON.stringify(rows)}, tokenizer, { blockSize: 4 }));`,
    ].join('\n'),
  },
  completeTrace: complete("show({ data: [{ type: 'bar', mark"),
  completeLayout: complete('show({ data: [], layout: { xa'),
};
let seen: Record<keyof typeof cells, Seen & Reply>;
before(() => {
  const { cells: replies } = kernel(Object.values(cells));
  seen = Object.fromEntries(Object.keys(cells).map((name, n) => [name, replies[n]])) as typeof seen;
});

test('in a cell: typed arrays, titles, and figures put together elsewhere are drawn', () => {
  const figure = (name: keyof typeof cells) =>
    seen[name].displays[0]!['application/vnd.plotly.v1+json'] as unknown as { data: object[] };
  assert.deepEqual([seen.typed.status, seen.typed.errors], ['ok', []]);
  assert.deepEqual(figure('typed').data, [{ type: 'scatter', y: [3, 1, 2] }]);
  assert.deepEqual([seen.apart.errors, seen.untyped.errors], [[], []]);
  assert.deepEqual([figure('apart').data.length, figure('untyped').data], [1, [{ y: [2] }]]);
});

test('in a cell: a tensor and a forgotten await are refused in one line, at the line that shows them', () => {
  assert.equal(
    seen.tensor.errors[0]!.evalue,
    'data[0].y is a tensor of shape [3]; take its values with await y.data()',
  );
  assert.match(seen.tensor.errors[0]!.traceback.join('\n'), /> 1 \| show\(/);
  assert.equal(
    seen.promise.errors[0]!.evalue,
    'data[0].y is a Promise, whose value is still to come; wait for it: await y',
  );
});

test('in a cell: what a file of rows holds, as a figure and in lines; elsewhere it is refused', async () => {
  const { displays, stdout, errors } = seen.data;
  assert.deepEqual(errors, []);
  assert.equal(displays.length, 1);
  assert.equal(
    displays[0]!['text/plain'],
    'Histograms of lengths in tokens: prompt, median 2, longest 2; chosen, median 3, longest 3; rejected, median 2, ' +
      'longest 2.',
  );
  const { data } = displays[0]!['application/vnd.plotly.v1+json'] as unknown as { data: { y: number[] }[] };
  assert.deepEqual(
    data.map(({ y: counts }) => counts),
    [
      [1, 1],
      [1, 1],
      [2, 0],
    ],
  );
  const lines = [
    '2 pairs, for train-dpo, train-reward, train-kto',
    'not understood: 1 row, the first is line 3: has no "rejected"',
    'chosen is longer than rejected in 1 of 2 (50.0 %), equally long in 1 of 2 (50.0 %)',
    "longer than the model's window of 4 tokens: 1 of 2 (50.0 %)",
    'repeat an earlier row: 0 of 2 (0.0 %); 0 prompts in more than one row',
    'no row would have other tokens across the end of its prompt',
  ];
  const printed = stdout.trim().split('\n');
  assert.equal(printed.length, lines.length);
  lines.forEach((line, n) => assert.ok(printed[n]!.startsWith(line), printed[n]));
  const report = await dataReport(rows, await Tokenizer.fromPretrained('tiny'), { blockSize: 4 });
  assert.throws(() => showData(report), { name: 'SetupError' });
});

test('in a cell: fields and values that plotly does not know do not compile; what it knows is completed', () => {
  const said = (name: keyof typeof cells) => seen[name].errors[0]!.traceback.join('\n');
  assert.match(said('field'), /'yy' does not exist in type/);
  assert.match(said('axis'), /'titel' does not exist in type 'Fields<LayoutAxis>'\. Did you mean to write 'title'\?/);
  assert.match(said('value'), /'string' is not assignable to type/);
  assert.deepEqual([seen.completeTrace['matches'], seen.completeLayout['matches']], [['marker'], ['xaxis']]);
});

/// <reference lib="dom" />
/**
 * The notebooks in a real JupyterLab and a real browser. Which, says BROWSER_NOTEBOOKS, numbers such as 03,07 (default:
 * all);
 * pictures of each are left in .alignbook/browser/pictures.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { notebookNames } from '../../scripts/notebooks/execute';
import { root } from '../../scripts/paths';
import { curvesOf, folder, Lab, moveSlider, type LabCell, type LabPage } from './lab';

/** The longest notebook trains for about four minutes. */
const MILLISECONDS = 900_000;
const PLOTLY = 'application/vnd.plotly.v1+json';

const wanted = process.env['BROWSER_NOTEBOOKS']?.split(',');
const names = notebookNames().filter((name) => !wanted || wanted.includes(name.slice(0, 2)));

let lab: Lab;
before(async () => {
  lab = await Lab.start();
});
after(() => lab?.stop());

const figures = (cells: readonly LabCell[]) =>
  cells.flatMap(({ outputs }) => outputs ?? []).filter(({ data }) => data?.[PLOTLY] !== undefined); // a text has none

/**
 * Takes a picture of each figure in turn, and points at it: JupyterLab shows the image, until the pointer comes and
 * plotly draws.
 *
 * @returns how many marks with a size plotly drew in each within ten seconds; -1 where there was no image before.
 */
async function marks(opened: LabPage, name: string): Promise<number[]> {
  const counts: number[] = [];
  for (const figure of await opened.page.$$('.jp-Notebook .jp-RenderedPlotly')) {
    await opened.page.mouse.move(0, 0); // or the next figure scrolls under the pointer, and is drawn
    await figure.scrollIntoViewIfNeeded();
    await opened.picture(`${name}-${counts.length + 1}`);
    const image = await figure.$('img.plot-img');
    if (!(await image?.evaluate((element) => (element as HTMLImageElement).naturalWidth > 0))) {
      counts.push(-1);
      continue;
    }
    const { x, y, width, height } = (await image!.boundingBox())!;
    await opened.page.mouse.move(x + width / 2, y + height / 2);
    let count = 0;
    for (const end = Date.now() + 10_000; count === 0 && Date.now() < end; await opened.page.waitForTimeout(200)) {
      count = await figure.$$eval(
        '.trace path, .trace rect, .trace text, .heatmaplayer image',
        (found) =>
          found.filter((mark) => {
            const { width, height } = mark.getBoundingClientRect();
            return width + height > 0;
          }).length,
      );
    }
    counts.push(count);
  }
  return counts;
}

for (const name of names) {
  test(`${name}: Run All, no error, every figure drawn`, async () => {
    const opened = await lab.open(`notebooks/${name}`);
    const { cells } = await opened.runAll(MILLISECONDS);
    for (const { source, outputs = [] } of cells) {
      const wrong = outputs.find(({ output_type, name: stream }) => output_type === 'error' || stream === 'stderr');
      assert.equal(wrong, undefined, `${source}\n${JSON.stringify(wrong)}`);
    }
    const drawn = await marks(opened, name.slice(0, 2));
    assert.equal(drawn.length, figures(cells).length);
    assert.ok(
      drawn.every((count) => count > 0),
      `marks of each figure: ${drawn.join(', ')}`,
    );
    if (drawn.length === 0) await opened.picture(name.slice(0, 2));
    await opened.close();
  });
}

/** A notebook of these cells, in the browser's folder. */
function written(name: string, ...sources: readonly string[]): string {
  const cells = sources.map((source, n) => ({
    cell_type: 'code',
    id: `cell-${n}`,
    metadata: {},
    execution_count: null,
    outputs: [],
    source,
  }));
  const kernelspec = { display_name: 'TypeScript', language: 'typescript', name: 'tslab' };
  writeFileSync(
    join(folder, 'notebooks', name),
    JSON.stringify({ cells, metadata: { kernelspec }, nbformat: 4, nbformat_minor: 5 }),
  );
  return `notebooks/${name}`;
}

test('an error stands in red under its cell, and ends Run All', async () => {
  const opened = await lab.open(
    written(
      'error.ipynb',
      'const config = { lr: 3 };\nconsole.log({ config });',
      "throw new RangeError('too far');",
      "console.log('never');",
    ),
  );
  const { cells } = await opened.runAll(60_000);
  assert.deepEqual(
    cells.map(({ execution_count }) => execution_count),
    [1, 2, null],
  );
  assert.deepEqual(
    cells.map(({ outputs }) => outputs[0]?.text ?? outputs[0]?.ename),
    ['{ config: { lr: 3 } }\n', 'RangeError', undefined],
  );
  const shown = await opened.page
    .locator('[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]')
    .allInnerTexts();
  assert.match(shown.join(), /RangeError: too far[^]*> 1 \| throw new RangeError/);
  await opened.picture('error');
  await opened.close();
});

test('the stop button ends a training; the steps so far are there, and the next cell runs', async () => {
  const path = written(
    'stop.ipynb',
    "import { GPT2, readPairs, Tokenizer, trainDpo, watch } from 'alignbook';\nconst tokenizer = await " +
      "Tokenizer.fromPretrained('tiny');\nconst policy = await GPT2.fromPretrained('tiny');\nconst pairs = (await " +
      "readPairs('../data/preferences/train.jsonl', tokenizer, { maxLength: 128 })).slice(0, 64);",
    'const history = await watch(trainDpo(policy, pairs, { steps: 500, batchSize: 4, lr: 1e-5 }), { steps: 500 });',
    'console.log(history.length > 2 && history.length < 500);',
  );
  const opened = await lab.open(path);
  await opened.command('notebook:run-all-cells');
  const progress = ({ outputs }: LabCell) => String(outputs[0]?.data?.['text/plain'] ?? '');
  await opened.waitFor(({ cells }) => /step [3-9] of 500/.test(progress(cells[1]!)), 120_000, 'no training');
  const curve = async (): Promise<string> =>
    (await opened.page.waitForSelector('.jp-RenderedImage img')).evaluate((image) => (image as HTMLImageElement).src);
  const early = await curve();
  await opened.page.waitForFunction((src) => ![...document.images].some((image) => image.src === src), early, {
    timeout: 60_000,
  }); // it grows
  await opened.picture('training');
  await opened.page.click(
    '[data-jp-item-name="interrupt"] button, jp-button[data-command="notebook:interrupt-kernel"], ' +
      '[data-command="kernelmenu:interrupt"]',
  );
  const { cells } = await opened.waitFor(({ cells: now }) => now[2]!.execution_count !== null, 60_000, 'it went on');
  assert.match(progress(cells[1]!), /^interrupted after step \d+ of 500$/);
  assert.equal(cells[2]!.outputs[0]!.text, 'true\n');
  await opened.close();
});

test("completion offers the library's names", async () => {
  const opened = await lab.open(written('complete.ipynb', "import { trainDpo, trainSft } from 'alignbook';", 'trainD'));
  await opened.command('notebook:run-all-cells');
  await opened.waitFor(
    ({ kernel, cells }) => kernel === 'idle' && cells[0]!.execution_count !== null,
    60_000,
    'the cell did not run',
  );
  await opened.page.locator('.jp-CodeCell .cm-content').nth(1).click();
  await opened.page.keyboard.press('Control+End');
  await opened.command('completer:invoke-notebook');
  await opened.page.waitForSelector('.jp-Completer-item');
  assert.deepEqual(await opened.page.locator('.jp-Completer-item').allInnerTexts(), ['trainDpo']);
  await opened.picture('completion');
  await opened.page.keyboard.press('Enter');
  await opened.waitFor(({ cells }) => cells[1]!.source === 'trainDpo', 20_000, 'no completion');
  await opened.close();
});

test('a notebook that was opened is not marked as modified', async () => {
  const opened = await lab.open('notebooks/01-tokenize.ipynb');
  await opened.page.waitForTimeout(3000); // what the kernel says of itself has come by then
  assert.equal((await opened.state()).modified, false);
  assert.equal(
    await opened.page
      .locator('.lm-DockPanel-tabBar .lm-TabBar-tab.jp-mod-dirty, .lm-DockPanel-tabBar .lm-TabBar-tab[class*="dirty"]')
      .count(),
    0,
  );
  await opened.picture('opened');
  await opened.page.locator('.jp-CodeCell .cm-content').first().click();
  await opened.page.keyboard.type('// typed');
  await opened.waitFor(({ modified }) => modified, 10_000, 'a change is not seen');
  await opened.close();
});

test(
  'the last line of a cell shows its value, a tensor ' + 'with its numbers; Shift-Tab in a call what it takes',
  async () => {
    const opened = await lab.open(
      written(
        'values.ipynb',
        "import { GPT2, tf, trainDpo } from 'alignbook';\ntf.tensor2d([[0.5, -1], [2, 3]])",
        "await GPT2.fromPretrained('tiny')",
        'trainDpo(',
      ),
    );
    await opened.command('notebook:run-all-cells');
    const { cells } = await opened.waitFor(
      ({ cells: now }) => now[2]!.execution_count !== null,
      60_000,
      'the cells did not run',
    );
    assert.deepEqual(
      cells[0]!.outputs.map(({ output_type, data }) => [output_type, data?.['text/plain']]),
      [['execute_result', 'Tensor float32 [2, 2]\n[[0.5, -1],\n [2  , 3 ]]']],
    );
    assert.deepEqual(
      await opened.page
        .locator('.jp-OutputPrompt')
        .allInnerTexts()
        .then((texts) => texts.filter((text) => text !== '')),
      ['[1]:', '[2]:'],
    );
    await opened.page.locator('.jp-CodeCell .cm-content').nth(2).click();
    await opened.page.keyboard.press('Control+End');
    await opened.page.keyboard.press('Shift+Tab');
    const tooltip = await opened.page.waitForSelector('.jp-Tooltip', { timeout: 10_000 });
    assert.match(await tooltip.innerText(), /trainDpo\(model: GPT2, pairs: readonly PairIds\[\]/);
    await opened.picture('values');
    await opened.close();
  },
);

test('the cell that repeats earlier notebooks is folded, and opens with a click; hints are closed', async () => {
  const opened = await lab.open('notebooks/02-pad-and-mask.ipynb');
  const first = opened.page.locator('.jp-CodeCell').first();
  assert.equal(await first.locator('.cm-content').isVisible(), false);
  await opened.picture('folded');
  await first.locator('.jp-Placeholder-content').first().click();
  await first.locator('.cm-content').waitFor({ state: 'visible', timeout: 10_000 });
  assert.match(await first.locator('.cm-content').innerText(), /Tokenizer\.fromPretrained/);
  const hint = opened.page.locator('.jp-Notebook details').first();
  const text = hint.locator('p').first();
  assert.equal(await text.isVisible(), false);
  await hint.locator('summary').click();
  await text.waitFor({ state: 'visible', timeout: 10_000 });
  await hint.scrollIntoViewIfNeeded();
  await opened.picture('hint');
  await opened.close();
});

test('a slider moves its figure, without the kernel', async () => {
  for (const name of ['04-dpo-loss', '05-ppo-loss', '07-loss-atlas', '10-train-ppo', '11-dpo-or-ppo']) {
    const opened = await lab.open(`notebooks/${name}.ipynb`);
    await marks(opened, `${name.slice(0, 2)}-slider`);
    const { page } = opened;
    const figure = '.jp-RenderedPlotly:has(.slider-container)';
    const counts = async () => (await opened.state()).cells.map(({ execution_count }) => execution_count);
    const counted = await counts();
    const before = await curvesOf(page, figure);
    await moveSlider(page, figure);
    await opened.picture(`${name.slice(0, 2)}-moved`);
    const after = await curvesOf(page, figure);
    assert.ok(before.length > 0 && after.length === before.length);
    assert.notDeepEqual(after, before, name);
    assert.deepEqual(await counts(), counted, 'a cell ran');
    await opened.close();
  }
});

test('a notebook that is not trusted shows its figures, too, as plotly draws them or as images', async () => {
  const name = notebookNames().find((candidate) =>
    readFileSync(join(root, 'notebooks', candidate), 'utf8').includes(PLOTLY),
  )!;
  const opened = await lab.open(unsigned(name));
  const { cells, trusted } = await opened.state();
  assert.equal(trusted, false);
  const drawn = await marks(opened, 'untrusted');
  assert.ok(drawn.length > 0 && drawn.every((count) => count > 0), `marks of each figure: ${drawn.join(', ')}`);
  await opened.close();

  const images = await lab.open(unsigned(name, (data) => delete data[PLOTLY])); // as where there is no plotly
  const loaded = await images.page.$$eval(
    '.jp-Notebook .jp-OutputArea img',
    (found) => (found as HTMLImageElement[]).filter(({ naturalWidth }) => naturalWidth > 0).length,
  );
  assert.equal(loaded, figures(cells).length);
  await images.close();
});

for (const theme of ['JupyterLab Light', 'JupyterLab Dark']) {
  test(`${theme}: the text of figures and token tables stands out`, async () => {
    for (const [name, what] of [
      ['06-train-dpo.ipynb', '.jp-RenderedHTML span[style*="background-color"] > span'],
      ['02-pad-and-mask.ipynb', '.jp-RenderedHTML span[style*="background-color"]'],
      ['03-logprobs.ipynb', '.jp-RenderedPlotly svg text'],
    ] as const) {
      const opened = await lab.open(`notebooks/${name}`);
      await opened.command('apputils:change-theme', { theme });
      await opened.page.waitForFunction((wanted) => document.body.dataset['jpThemeName'] === wanted, theme);
      if (what.includes('Plotly')) await marks(opened, `${theme.split(' ')[1]}-03`);
      const found = await opened.page.$$eval(what, contrasts);
      assert.ok(found.length > 10, `${found.length} texts in ${name}`);
      const worst = found.reduce((one, other) => (one.contrast < other.contrast ? one : other));
      assert.ok(worst.contrast >= 3.9, `${name}: "${worst.text}" has a contrast of ${worst.contrast.toFixed(2)}`);
      await opened.page.locator(what).first().scrollIntoViewIfNeeded();
      await opened.picture(`${theme.split(' ')[1]}-${name.slice(0, 2)}`);
      await opened.close();
    }
  });
}

/**
 * WCAG's contrast of each text with what lies behind it, in the page: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio.
 */
function contrasts(texts: readonly Element[]): { text: string; contrast: number }[] {
  type Colour = readonly [number, number, number, number];
  const parsed = (css: string): Colour => {
    const [r = 0, g = 0, b = 0, alpha = 1] = (css.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    return [r, g, b, alpha];
  };
  const over = ([r, g, b, a]: Colour, [br, bg, bb]: Colour): Colour => [
    r * a + br * (1 - a),
    g * a + bg * (1 - a),
    b * a + bb * (1 - a),
    1,
  ];
  const behind = (element: Element | null): Colour =>
    element
      ? over(parsed(getComputedStyle(element).backgroundColor), behind(element.parentElement))
      : [255, 255, 255, 1];
  const luminance = (colour: Colour) => {
    const [r, g, b] = colour
      .slice(0, 3)
      .map((value) => value / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)) as [number, number, number];
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return texts.map((element) => {
    const background = behind(element);
    const { color, fill } = getComputedStyle(element);
    const [dark, light] = [
      luminance(over(parsed(element instanceof SVGElement ? fill : color), background)),
      luminance(background),
    ].sort((a, b) => a - b) as [number, number];
    return { text: element.textContent ?? '', contrast: (light + 0.05) / (dark + 0.05) };
  });
}

/** A copy of the committed notebook that no one signed, its figures changed. */
function unsigned(name: string, change: (data: Record<string, unknown>) => unknown = () => undefined): string {
  const notebook = JSON.parse(readFileSync(join(root, 'notebooks', name), 'utf8')) as { cells: LabCell[] };
  for (const { data } of figures(notebook.cells)) change(data as Record<string, unknown>);
  const copy = { ...notebook.cells.find(({ cell_type }) => cell_type === 'markdown')!, id: 'unsigned' };
  notebook.cells.push(copy);
  const path = join('notebooks', `unsigned-${change.length}-${name}`);
  writeFileSync(join(folder, path), JSON.stringify(notebook));
  return path;
}

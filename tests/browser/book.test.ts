/** The book's pages, opened from disk: figures that plotly drew, formulas, search, and no request to a network. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import type { Browser, Page } from 'playwright-core';

import { notebookNames } from '../../scripts/notebooks/execute';
import { root } from '../../scripts/paths';
import { curvesOf, launch, moveSlider, pictures } from './lab';

const folder = mkdtempSync(join(tmpdir(), 'book-'));
const book = join(folder, 'a book'); // a folder's name may hold a space
let browser: Browser;

before(async () => {
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(root, '.alignbook', 'build', 'scripts', 'book', 'book.js'), '--out', book],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  mkdirSync(pictures, { recursive: true });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The page, and what it asked a network for. */
async function open(path: string, query = '', width = 1300): Promise<{ page: Page; asked: string[]; wrong: string[] }> {
  const page = await browser.newPage({ viewport: { width, height: 1000 } });
  const [asked, wrong]: [string[], string[]] = [[], []];
  page.on('request', (request) => !/^(file|data|blob):/.test(request.url()) && asked.push(request.url()));
  page.on('requestfailed', (request) => wrong.push(`${request.url()} ${request.failure()?.errorText}`));
  page.on('pageerror', (error) => wrong.push(error.message));
  await page.goto(pathToFileURL(join(book, path)).href + query);
  return { page, asked, wrong };
}

const names = notebookNames().map((name) => name.replace('.ipynb', ''));

for (const name of names) {
  test(`${name}: every figure drawn, formulas set, nothing asked for`, async () => {
    const { page, asked, wrong } = await open(`notebooks/${name}.html`);
    const figures = await page.locator('.alignbook-figure').count();
    const count = () =>
      page.$$eval(
        '.alignbook-figure',
        (found) =>
          found.filter((figure) =>
            [...figure.querySelectorAll('.trace path, .trace rect, .heatmaplayer image')].some(
              (mark) => mark.getBoundingClientRect().width + mark.getBoundingClientRect().height > 0,
            ),
          ).length,
      );
    for (const end = Date.now() + 20_000; (await count()) < figures && Date.now() < end;)
      await page.waitForTimeout(200);
    assert.equal(await count(), figures);
    if (await page.locator('.math').count()) await page.waitForSelector('.math mjx-container', { timeout: 20_000 });
    assert.deepEqual({ asked, wrong }, { asked: [], wrong: [] });
    if (figures > 0) await page.locator('.alignbook-figure').first().scrollIntoViewIfNeeded();
    await page.screenshot({ path: join(pictures, `book-${name.slice(0, 2)}.png`) });
    await page.close();
  });
}

test('contents lead to every notebook, document and room; the cells of the walkthrough to their places', async () => {
  const { page, asked, wrong } = await open('index.html');
  const links = await page.$$eval('.bd-sidebar-primary a.reference.internal', (found) =>
    found.map((link) => link.getAttribute('href')),
  );
  for (const name of names) assert.ok(links.includes(`notebooks/${name}.html`), name);
  for (const page of ['docs/architecture', 'docs/training', 'data/README', 'CONTRIBUTING', 'lib/README'])
    assert.ok(links.includes(`${page}.html`), page);
  for (const room of ['losses', 'model', 'training']) assert.ok(links.includes(`api/${room}.html`), room);
  await page.screenshot({ path: join(pictures, 'book-index.png') });
  await page.goto(pathToFileURL(join(book, 'source-cells.html')).href);
  await page.getByRole('link', { name: 'In 13', exact: true }).click();
  await page.waitForURL(/04-dpo-loss\.html#in-13$/);
  assert.match(await page.locator('#in-13').first().innerText(), /In 13 of the walkthrough/);
  assert.deepEqual({ asked, wrong }, { asked: [], wrong: [] });
  await page.close();
});

test('a slider moves its figure; the cell that repeats others and the hints are folded', async () => {
  const { page, asked, wrong } = await open('notebooks/04-dpo-loss.html');
  const figure = '.alignbook-figure:has(.slider-container)';
  await page.waitForSelector(`${figure} .slider-rail-touch-rect`, { timeout: 20_000 });
  const before = await curvesOf(page, figure);
  await moveSlider(page, figure);
  assert.notDeepEqual(await curvesOf(page, figure), before);
  await page.screenshot({ path: join(pictures, 'book-slider.png') });
  const folded = page.locator('.cell.tag_repeats .highlight').first();
  assert.equal(await folded.isVisible(), false);
  await page.locator('.cell.tag_repeats summary').click();
  await folded.waitFor({ state: 'visible', timeout: 10_000 });
  const hint = page.locator('details:not(.hide)').first();
  assert.equal(await hint.locator('p').isVisible(), false);
  await page.getByRole('link', { name: 'Solutions', exact: true }).click();
  await page.waitForURL(/solutions\/04-dpo-loss\.html$/);
  assert.deepEqual({ asked, wrong }, { asked: [], wrong: [] });
  await page.close();
});

test('narrow lessons fit beside both sidebars at 1440 pixels; names lead to the API reference', async () => {
  const { page } = await open('notebooks/10-train-ppo.html', '', 1440);
  const wide = await page.$$eval('.cell_input pre', (found) =>
    found.filter((pre) => pre.scrollWidth > pre.clientWidth).map((pre) => pre.textContent),
  );
  assert.deepEqual(wide, []);
  assert.ok(await page.locator('.bd-sidebar-secondary').isVisible());
  await page.locator('a[href="../api/losses.html#gae"]').first().click();
  await page.waitForURL(/api\/losses\.html#gae$/);
  assert.match(await page.locator('#gae').first().innerText(), /gae\(\)/);
  await page.close();
});

test('one search box, no placeholder, and an index that says what is where, in both themes and widths', async () => {
  for (const [width, theme] of [
    [1440, 'light'],
    [1440, 'dark'],
    [900, 'light'],
    [900, 'dark'],
  ] as const) {
    const { page } = await open('index.html', '', width);
    await page.emulateMedia({ colorScheme: theme });
    const searches = await page.locator('.search-button__button, input[type="search"]').all();
    const visible = await Promise.all(searches.map((one) => one.isVisible()));
    assert.equal(visible.filter(Boolean).length, 1, `search boxes at ${width}`);
    assert.doesNotMatch(await page.locator('body').innerText(), /not set/i);
    for (const path of ['index', 'notebooks/10-train-ppo', 'docs/cheatsheet', 'api/losses']) {
      await page.goto(pathToFileURL(join(book, `${path}.html`)).href);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(over <= 0, `${path} is ${over} pixels wider than ${width}`);
      await page.screenshot({ path: join(pictures, `book-${path.replace(/.*\//, '')}-${width}-${theme}.png`) });
    }
    await page.close();
  }
  const { page } = await open('index.html');
  const described = page.locator('table').last();
  assert.match(await described.innerText(), /The walkthrough[^]*The library[^]*training, notebook/);
  assert.equal(await page.locator('meta[name="description"]').count(), 1);
  await page.close();
});

test('search finds a word', async () => {
  const { page, asked } = await open('search.html', '?q=label+smoothing');
  await page.waitForSelector('#search-results li a', { timeout: 20_000 });
  assert.match((await page.locator('#search-results li a').allInnerTexts()).join('\n'), /DPO loss|atlas/i);
  await page.screenshot({ path: join(pictures, 'book-search.png') });
  assert.deepEqual(asked, []);
  await page.close();
});

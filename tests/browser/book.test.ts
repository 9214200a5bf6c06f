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
import { launch, pictures } from './lab';

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
async function open(path: string, query = ''): Promise<{ page: Page; asked: string[]; wrong: string[] }> {
  const page = await browser.newPage({ viewport: { width: 1300, height: 1000 } });
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

test('search finds a word', async () => {
  const { page, asked } = await open('search.html', '?q=label+smoothing');
  await page.waitForSelector('#search-results li a', { timeout: 20_000 });
  assert.match((await page.locator('#search-results li a').allInnerTexts()).join('\n'), /DPO loss|atlas/i);
  await page.screenshot({ path: join(pictures, 'book-search.png') });
  assert.deepEqual(asked, []);
  await page.close();
});

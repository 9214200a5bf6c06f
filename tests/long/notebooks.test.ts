/**
 * All notebooks, executed once each; their values must be the expected ones. The rules for their files are
 * tests/notebooks.test.ts.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { executedCopy, executeNotebooks, notebookNames } from '../../scripts/notebooks/execute';
import { checkNotebook, readExpected } from '../../scripts/notebooks/expected';
import { readNotebook } from '../../scripts/notebooks/notebook';
import * as rules from '../../scripts/notebooks/rules';
import { root } from '../../scripts/paths';

const paths = notebookNames().map((name) => join(root, 'notebooks', name));
const none = (findings: readonly string[]) => assert.equal(findings.join('\n'), '');

const out = mkdtempSync(join(tmpdir(), 'executed-'));
after(() => rmSync(out, { recursive: true, force: true }));

test('each notebook runs clean from a fresh kernel and prints the expected values', async (t) => {
  const { reports, log } = await executeNotebooks(paths, { out, jobs: 2, timeout: 300, html: true, model: 'tiny' });
  for (const [i, { notebook, refused }] of reports.entries()) {
    await t.test(notebook, () => {
      assert.equal(refused, null, log);
      const fresh = executedCopy(out, notebook);
      const expected = readExpected(join(root, 'tests', 'expected', notebook.replace('.ipynb', '.json')));
      const { problems, notCompared, cellsCompared } = checkNotebook(fresh, expected, 'tiny');
      none(problems);
      assert.deepEqual(notCompared, []);
      assert.ok(cellsCompared > 0);
      none(rules.sameOutputs(readNotebook(paths[i]!), fresh, expected));
    });
  }
});

test('the pages need no network, and describe their images', () => {
  const pages = readdirSync(out).filter((file) => file.endsWith('.html'));
  assert.equal(pages.length, paths.length);
  for (const name of pages) {
    const page = readFileSync(join(out, name), 'utf8');
    assert.doesNotMatch(page, /<script\b[^>]*\bsrc=|<link\b[^>]*\bhref="http|<img\b[^>]*\bsrc="(?!data:)/, name);
    // nbconvert's text for an image without alt text
    assert.doesNotMatch(page, /No description has been provided/, name);
    const formulas = readNotebook(join(out, name.replace('.html', '.ipynb')))
      .cells.filter(({ cell_type }) => cell_type === 'markdown')
      .map(({ source }) => source.replace(/```[^]*?```|`[^`\n]*`/g, ''));
    const count = formulas.flatMap((text) => [...text.matchAll(/\$\$[^$]+\$\$|\$[^$\n]+\$/g)]).length;
    assert.equal(page.match(/<mjx-container\b/g)?.length ?? 0, count, `${name}: formulas set as pictures`);
    assert.doesNotMatch(page, /<merror\b/, `${name}: a formula that is wrong`);
    assert.doesNotMatch(
      page.replace(/<pre>[^]*?<\/pre>|<svg[^]*?<\/svg>/g, ''),
      /\\(?:frac|pi|beta|log|sigma|mathrm)\b/,
      `${name}: raw LaTeX`,
    );
    for (const [, target] of page.matchAll(/<a\b[^>]*\bhref="(?!#|[a-z]+:)([^"#]+)/g))
      assert.ok(existsSync(join(out, target!)), `${name} links to ${target}`);
  }
});

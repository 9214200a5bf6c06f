/**
 * The Python that the documents and a model's card print, run as it stands: only the card's "path/to/this/folder"
 * becomes a folder.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { exportModel, GPT2, Random, RewardModel } from 'alignbook';

import { oraclePython } from '../../scripts/paths';
import { Place } from '../printedRun';
import { printedFences } from '../printedText';

const place = new Place();
after(() => place.remove());

function python(code: string): string {
  const { status, stdout, stderr } = spawnSync(oraclePython, ['-c', code], {
    cwd: place.folder,
    encoding: 'utf8',
    env: { ...process.env, HF_HUB_OFFLINE: '1' },
  });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

/** What the snippet loaded must compute something. */
const USED = [
  '',
  'import torch',
  'logits = model(**tokenizer("Say hello.", return_tensors="pt")).logits',
  'assert torch.isfinite(logits).all()',
  'print(type(model).__name__)',
].join('\n');

test('the Python of the documents', async () => {
  const model = await GPT2.fromPretrained('tiny');
  await exportModel(model, join(place.folder, 'runs', 'my-model'), { source: 'tiny' });
  model.dispose();
  const fences = printedFences().filter(({ language }) => language === 'python');
  assert.ok(fences.length > 0);
  for (const { text } of fences) assert.equal(python(text + USED), 'GPT2LMHeadModel');
});

test("the Python of a model's card, and of a reward model's", async () => {
  const model = await GPT2.fromPretrained('tiny');
  const judge = RewardModel.begin(model, new Random(0));
  for (const [name, made, kind] of [
    ['card', model, 'GPT2LMHeadModel'],
    ['judge', judge, 'GPT2ForSequenceClassification'],
  ] as const) {
    const folder = join(place.folder, name);
    await exportModel(made, folder, { source: 'tiny' });
    const [, snippet] = /```python\n([^]*?)```/.exec(readFileSync(join(folder, 'README.md'), 'utf8'))!;
    assert.match(snippet!, /path\/to\/this\/folder/);
    assert.equal(python(snippet!.replaceAll('path/to/this/folder', folder) + USED), kind);
  }
});

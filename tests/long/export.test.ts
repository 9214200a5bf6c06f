/** An exported folder opened by transformers: weights, logits, token ids, and the file that it saves again. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { exportModel, GPT2, type FloatDType } from 'alignbook';

import { oracle } from './oracle';

const TINY = join(__dirname, '..', '..', '..', '..', 'data', 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'export-'));
after(() => rmSync(folder, { recursive: true }));

for (const dtype of ['F32', 'F16', 'BF16'] satisfies FloatDType[]) {
  test(`${dtype}: transformers opens the folder and finds the model in it`, async () => {
    const model = await GPT2.fromPretrained('tiny');
    await exportModel(model, join(folder, dtype), { source: 'tiny', dtype });
    model.dispose();
    oracle('check_export.py', TINY, join(folder, dtype)); // asserts
  });
}

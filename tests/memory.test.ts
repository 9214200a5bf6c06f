/** Models that were let go of are freed, and no others: by `dispose`, and in a notebook by reach. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import { kernel } from './kernel';

/** `tiny` in float32: 7 million parameters. */
const MODEL_MB = 28;

test('a model that is disposed of gives its memory back', () => {
  const script = `
    const { GPT2 } = require('alignbook');
    const megabytes = [];
    (async () => {
      for (let n = 0; n < 20; n += 1) {
        (await GPT2.fromPretrained('tiny')).dispose();
        megabytes.push(process.memoryUsage.rss() / 2 ** 20);
      }
      console.log(JSON.stringify(megabytes));
    })();`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    cwd: __dirname,
    env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' },
  });
  const megabytes = JSON.parse(stdout || stderr) as number[];
  // Fifteen models would be 420 MB; the first few make room for what is made and freed on the way.
  assert.ok(megabytes[19]! - megabytes[4]! < 3 * MODEL_MB, megabytes.map(Math.round).join(' '));
});

test(
  'a cell that loads a model, run 20 times, stays flat; an ' +
    'old model lives on in another variable and in a closure',
  () => {
    const load =
      "const model = await GPT2.fromPretrained('tiny'); console.log(Math.round((process.memoryUsage().rss - " +
      'process.memoryUsage().heapTotal) / 2 ** 20), liveTensors());';
    const score = (name: string) =>
      `tf.tidy(() => ${name}.forward(tf.tensor2d([[464, 2068, 7586]], [1, 3], 'int32')).logits.dataSync().slice(0, ` +
      '4).join())';
    const { cells } = kernel([
      { code: "import { GPT2, liveTensors, tf } from 'alignbook';" },
      { code: `${load}\nconst ofFirst = () => ${score('model')};` },
      { code: `const first = model; console.log(${score('first')});` },
      ...Array.from({ length: 20 }, () => ({ code: load })),
      { code: `console.log(${score('first')}); console.log(ofFirst());` },
      { code: `console.log(${score('model')});` },
    ] as object[]);
    const [, , once, ...rest] = cells;
    const [ofAll, ofLast] = rest.splice(-2);
    for (const { stdout } of [ofAll!, ofLast!])
      for (const line of stdout.trim().split('\n')) assert.equal(line, once!.stdout.trim());
    const seen = rest.map(({ stdout }) => stdout.trim().split(' ').map(Number) as [megabytes: number, tensors: number]);
    const text = seen.map(([megabytes, tensors]) => `${megabytes} MB ${tensors}`).join(', ');
    assert.ok(seen[19]![0] - seen[4]![0] < 4 * MODEL_MB, text);
    // 52 tensors a model: the first, the one that is loaded, and those that await the next cleaning.
    assert.ok(
      seen.every(([, tensors]) => tensors <= 7 * 52),
      text,
    );
  },
);

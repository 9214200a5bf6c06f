/** GRPO handed over: TRL samples on two processes, both of which ask `score --serve`, with a token, for the reward. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';

import { GPT2 } from 'alignbook';
import { rewardModelOf } from 'alignbook/dist/commands/trainedModel';
import { exportModel } from 'alignbook/dist/model/export';
import { gpt2Files } from 'alignbook/dist/model/folder';

import { alignbook, folder, handOver, train } from '../handedOver';

let server: ChildProcess | undefined;
after(() => server?.kill('SIGKILL'));

test('GRPO on two processes: rewards from the server, and a model that comes back', async () => {
  const rewardModel = join(folder, 'reward-model');
  const made = await rewardModelOf('tiny', (await gpt2Files('tiny')).folder, 1, 50256);
  await exportModel(made, rewardModel, { source: 'tiny' });
  made.dispose();
  const token = join(folder, 'score-token');
  writeFileSync(token, '0123456789abcdef', { mode: 0o600 });
  const args = ['score', '--serve', '--model', rewardModel, '--port', '0', '--token-file', token];
  server = spawn(process.execPath, [alignbook, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: server.stdout! }), 'line')) as [string];

  const settings = { rewardModel, steps: 2, batchSize: 4, groupSize: 4, maxNewTokens: 8, warmupSteps: 0 };
  const handed = handOver('grpo', settings, '--kind', 'grpo');
  process.env['SCORE_URL'] = /http\S+score/.exec(line)![0];
  process.env['SCORE_TOKEN_FILE'] = token;
  train(handed, 2, '--processes', '2');
  const { how, steps } = JSON.parse(readFileSync(join(handed, 'out', 'trajectory.json'), 'utf8')) as {
    how: { processes: number };
    steps: Record<string, number>[];
  };
  assert.equal(how.processes, 2);
  assert.equal(steps.length, 2);
  for (const step of steps) {
    // drawn heads begin with scores of a deviation of about 1
    assert.ok(Math.abs(step['reward']!) > 1e-3 && Math.abs(step['reward']!) < 10, `${step['reward']}`);
    assert.ok(step['reward_std']! > 0 && step['grad_norm']! > 0);
  }
  assert.ok(existsSync(join(handed, 'out', 'model', 'model.safetensors')));
  (await GPT2.fromPretrained(join(handed, 'out', 'model'))).weights.dispose();
  server.kill('SIGTERM');
  assert.deepEqual(await once(server, 'exit'), [0, null]);
});

/** Makes the runs of tests/madeRuns.ts again, and diagnoses them: the findings are those of the stored runs. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { diagnose } from 'alignbook';

import { MADE_RUNS, Start } from '../madeRuns';

let start: Start;
before(async () => (start = await Start.make()));
after(() => start.remove());

for (const { name, finds, says, train } of MADE_RUNS)
  test(`${name}: ${finds.length === 0 ? 'nothing unusual' : finds.join(', ')}`, async () => {
    const { options, steps } = await train(start);
    const history: object[] = [];
    for await (const step of steps) history.push(step);
    const { findings } = diagnose(history, options);
    assert.deepEqual(
      findings.map(({ rule }) => rule),
      finds,
    );
    if (says) assert.match(findings[0]!.says, says);
  });

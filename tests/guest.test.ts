/**
 * A kernel ends when Jupyter does, and prints nothing at its end; tests/long/guest.test.ts covers every way in which
 * JupyterLab may end.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import { isAlive } from 'alignbook/dist/processes';

import { root } from '../scripts/paths';

const PYTHON = join(root, '.alignbook', 'python', 'bin', 'python');

/** Starts a kernel, runs a cell, prints the kernel's process id, and waits, or shuts the kernel down. */
const client = (cell: string, end: string) => `
import sys
from pathlib import Path
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

specs = KernelSpecManager(kernel_dirs=[str(Path(sys.prefix) / "share" / "jupyter" / "kernels")])
manager = KernelManager(kernel_name="tslab", kernel_spec_manager=specs)
manager.start_kernel(cwd=${JSON.stringify(join(root, 'notebooks'))})
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=120)
client.execute(${JSON.stringify(cell)})
while (message := client.get_iopub_msg(timeout=120))["msg_type"] != "stream":
    pass
print(manager.provisioner.process.pid, flush=True)
${end}
`;

/** @returns the seconds that the kernel lived on after its client was killed. */
async function secondsAfterKill(cell: string): Promise<number> {
  const jupyter = spawn(PYTHON, ['-c', client(cell, 'import time; time.sleep(600)')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [first] = (await once(jupyter.stdout, 'data')) as [Buffer];
  const pid = Number(first.toString());
  assert.ok(isAlive(pid));
  jupyter.kill('SIGKILL');
  const start = performance.now();
  while (isAlive(pid)) {
    await wait(50);
    assert.ok(performance.now() - start < 30_000, 'the kernel stays');
  }
  return (performance.now() - start) / 1000;
}

for (const [name, cell] of Object.entries({
  waiting: "console.log('ready'); await new Promise((done) => setTimeout(done, 600_000));",
  'in an endless loop': "console.log('ready'); setTimeout(() => { for (;;); }, 200);",
})) {
  test(`a kernel whose Jupyter was killed is gone: ${name}`, async () => {
    await secondsAfterKill(cell);
  });
}

test('a kernel that is shut down says nothing, whatever its cells have left to run', () => {
  for (let n = 0; n < 2; n += 1) {
    const cell = "setInterval(() => console.log('tick'), 1); void Promise.resolve().then(() => console.log('ready'));";
    const { status, stderr } = spawnSync(
      PYTHON,
      ['-c', client(cell, 'client.stop_channels(); manager.shutdown_kernel()')],
      { encoding: 'utf8' },
    );
    assert.deepEqual([status, stderr], [0, '']);
  }
});

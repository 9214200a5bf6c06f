/**
 * Kernels of `npm run lab` are gone after each way of ending it. Four kernels each, of which two have just been
 * started; KERNELS is another
 * number.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import { isAlive } from 'alignbook/dist/processes';

import { root } from '../../scripts/paths';

const KERNELS = Number(process.env['KERNELS'] ?? 4);
const LAB = [
  process.execPath,
  join(root, 'scripts', 'lab.mjs'),
  '--no-browser',
  '--port=0',
  '--ServerApp.port_retries=0',
  '--ip=127.0.0.1',
];

/**
 * Runs its arguments in a terminal of their own, prints what they print, types what it reads, and closes the terminal
 * where that ends.
 */
const TERMINAL = `
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
print(f"lab {pid}", flush=True)
while True:
    for ready in select.select([terminal, 0], [], [])[0]:
        try:
            data = os.read(ready, 65536)
        except OSError:  # the last process in the terminal has ended
            sys.exit()
        if ready == terminal:
            os.write(1, data)
        elif data:
            os.write(terminal, data)
        else:
            sys.exit()
`;

interface Running {
  /** What was spawned: the lab, or the terminal around it. */
  readonly spawned: ChildProcess;
  readonly lab: number;
}

/** @returns [pid, parent's pid, command] of all processes. */
const processes = () =>
  spawnSync('ps', ['-eo', 'pid,ppid,args'], { encoding: 'utf8' })
    .stdout.split('\n')
    .flatMap((line) => {
      const found = /^\s*(\d+)\s+(\d+)\s+(.*)/.exec(line);
      return found ? [[Number(found[1]), Number(found[2]), found[3]!] as const] : [];
    });
const children = (pid: number) =>
  processes()
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child);

async function until(what: string, holds: () => boolean, seconds: number): Promise<void> {
  for (const end = performance.now() + 1000 * seconds; !holds(); await wait(100))
    assert.ok(performance.now() < end, what);
}

async function start(inTerminal: boolean): Promise<Running & { jupyter: number; kernels: number[] }> {
  const spawned = inTerminal
    ? spawn('python3', ['-c', TERMINAL, ...LAB], { stdio: ['pipe', 'pipe', 'inherit'] })
    : spawn(LAB[0]!, LAB.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let said = '';
  for (const stream of [spawned.stdout, spawned.stderr]) stream?.on('data', (chunk) => (said += chunk));
  await until('JupyterLab does not come up', () => /http:\/\/127\.0\.0\.1:\d+\/\S*token=\w+/.test(said), 60);
  const [, origin, token] = /(http:\/\/127\.0\.0\.1:\d+)\/\S*token=(\w+)/.exec(said)!;
  const lab = inTerminal ? Number(/^lab (\d+)/.exec(said)![1]) : spawned.pid!;
  const [jupyter] = children(lab) as [number];
  const begin = async (): Promise<void> => {
    const reply = await fetch(`${origin}/api/kernels`, {
      method: 'POST',
      headers: { Authorization: `token ${token}` },
      body: JSON.stringify({ name: 'tslab', path: 'notebooks' }),
    });
    assert.equal(reply.status, 201, await reply.text());
  };
  const early = Math.floor(KERNELS / 2);
  for (let n = 0; n < early; n += 1) await begin();
  await wait(2500 * early); // they stand by
  for (let n = early; n < KERNELS; n += 1) await begin();
  const kernels = processes()
    .filter(([, parent, command]) => parent === jupyter && command.includes('kernel/main.js'))
    .map(([pid]) => pid);
  assert.equal(kernels.length, KERNELS);
  return { spawned, lab, jupyter, kernels };
}

type Way = (running: Running & { jupyter: number }) => void | Promise<void>;
const ways: Readonly<Record<string, readonly [inTerminal: boolean, end: Way]>> = {
  SIGTERM: [false, ({ lab }) => void process.kill(lab, 'SIGTERM')],
  SIGHUP: [false, ({ lab }) => void process.kill(lab, 'SIGHUP')],
  'SIGINT, without a terminal': [false, ({ lab }) => void process.kill(lab, 'SIGINT')],
  'JupyterLab is killed': [false, ({ jupyter }) => void process.kill(jupyter, 'SIGKILL')],
  'Ctrl-C twice in a terminal': [
    true,
    async ({ spawned }) => {
      spawned.stdin!.write('\x03');
      await wait(500);
      spawned.stdin!.write('\x03');
    },
  ],
  'the terminal is closed': [true, ({ spawned }) => void spawned.stdin!.end()],
};

for (const [name, [inTerminal, end]] of Object.entries(ways)) {
  test(`${name}: ${KERNELS} of ${KERNELS} kernels are gone`, async () => {
    const running = await start(inTerminal);
    const all = [running.lab, running.jupyter, ...running.kernels];
    try {
      await end(running);
      await until('JupyterLab stays', () => !isAlive(running.jupyter), 30);
      await until('kernels stay', () => running.kernels.every((pid) => !isAlive(pid)), 30).catch((error: Error) => {
        throw new Error(`${error.message}: ${running.kernels.filter(isAlive).length} of ${KERNELS}`);
      });
    } finally {
      for (const pid of all) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    }
  });
}

/**
 * A training handed over under Ray Train, on one node and on two nodes of this machine: the steps of torchrun. Every
 * node and the driver have the same token; the nodes are ended by their process ids.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import { rayProgram, rayPython } from '../../scripts/paths';
import { check, folder, handOver, ON_CPU, ran, train } from '../handedOver';

/** Ray's own files; its sockets allow only a short path. */
const session = mkdtempSync(join(tmpdir(), 'ray-'));
const token = join(folder, 'ray-token');
const ENVIRONMENT = {
  ...ON_CPU,
  RAY_AUTH_MODE: 'token',
  RAY_AUTH_TOKEN_PATH: token,
  RAY_TMPDIR: session,
  RAY_USAGE_STATS_ENABLED: '0',
};
const MEMORY = ['--object-store-memory', '100000000'];
const nodes: ChildProcess[] = [];

/** The processes of Ray's session, which are those whose environment names its folder. */
function processesOfSession(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(join('/proc', pid, 'environ'), 'utf8').includes(`RAY_TMPDIR=${session}\0`);
      } catch {
        return false; // it has ended
      }
    })
    .map(Number);
}

async function endNodes(): Promise<void> {
  for (const node of nodes.splice(0).toReversed()) {
    const ended = node.exitCode === null ? once(node, 'exit') : undefined;
    node.kill('SIGTERM');
    await ended;
  }
}

after(async () => {
  await endNodes();
  for (const pid of processesOfSession()) process.kill(pid, 'SIGKILL');
  rmSync(session, { recursive: true, force: true });
});

let handed: string;
let expected: string;
before(() => {
  writeFileSync(token, randomBytes(32).toString('hex'), { mode: 0o600 });
  handed = handOver('ray', { steps: 20 });
  expected = join(folder, 'torchrun');
  train(handed, 2, '--compare', '--out', expected);
});

type Step = Readonly<Record<string, number>>;
const stepsIn = (out: string): Step[] =>
  (JSON.parse(readFileSync(join(out, 'trajectory.json'), 'utf8')) as { steps: Step[] }).steps;

/** Runs ray_train.py, and compares its trajectory with torchrun's and with alignbook's. */
function trainByRay(...args: string[]): void {
  const out = join(handed, 'out');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  ran(rayPython, [join(handed, 'ray_train.py'), '--workers', '2', ...args, '--compare'], ENVIRONMENT);
  const [own, theirs] = [stepsIn(out), stepsIn(expected)];
  assert.equal(own.length, 20);
  let greatest = 0;
  own.forEach((step, n) => {
    for (const [name, value] of Object.entries(theirs[n]!)) {
      const difference = Math.abs(step[name]! - value) / Math.max(1, Math.abs(value));
      assert.ok(difference <= 1e-6, `step ${n + 1}, ${name}: ${step[name]}, by torchrun ${value}`);
      greatest = Math.max(greatest, difference);
    }
  });
  console.log(`greatest difference from torchrun: ${greatest}`);
  const { status, stdout } = check(handed);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^2 processes, MULTI_CPU, gloo\n/);
}

test('one Ray node: the steps of torchrun', () => trainByRay());

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function startNode(...args: string[]): ChildProcess {
  const node = spawn(rayProgram, ['start', '--block', '--num-cpus', '1', '--disable-usage-stats', ...MEMORY, ...args], {
    env: { ...process.env, ...ENVIRONMENT },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  nodes.push(node);
  return node;
}

test('two Ray nodes, one worker on each: the steps of torchrun', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  const at = ['--node-ip-address', '127.0.0.1'];
  startNode('--head', '--port', address.split(':')[1]!, '--temp-dir', session, '--include-dashboard=false', ...at);
  await until(() => count(address) === 1, 'the head');
  startNode('--address', address, ...at);
  await until(() => count(address) === 2, 'the second node');
  // each node has one CPU, and each worker takes one
  trainByRay('--address', address, '--spread');
  await endNodes();
  await until(() => processesOfSession().length === 0, 'the end of all processes of Ray');
});

const COUNT = `
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print("nodes:", sum(node["Alive"] for node in ray.nodes()))
`;

/** The number of nodes that a cluster has. */
function count(address: string): number {
  try {
    return Number(/nodes: (\d+)/.exec(ran(rayPython, ['-c', COUNT, address], ENVIRONMENT))?.[1]);
  } catch {
    return 0;
  }
}

async function until(done: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 300_000;
  while (!done()) {
    assert.ok(Date.now() < end && nodes.every(({ exitCode }) => exitCode === null), `${what} did not come`);
    await wait(500);
  }
}

/** Downloads through a proxy on this machine, as configured by HTTPS_PROXY, HTTP_PROXY and NO_PROXY. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';

import { HubError } from 'alignbook';
import { Connection } from 'alignbook/dist/hub/connection';

import { matching } from './matching';

/** A request that reached the proxy: one to pass on, or one for a tunnel. */
let asked: string[] = [];
const target = createServer((_, response) => response.end('here'));
const proxy = createServer((incoming, response) => {
  asked.push(`${incoming.method} ${incoming.url}`);
  const { port } = target.address() as AddressInfo;
  request({ port, path: '/' }, (answer) => answer.pipe(response)).end();
});
let tunnelAnswer = '502 Bad Gateway';
proxy.on('connect', (incoming, socket) => {
  asked.push(`CONNECT ${incoming.url} ${incoming.headers['proxy-authorization'] ?? ''}`.trim());
  socket.end(`HTTP/1.1 ${tunnelAnswer}\r\n\r\n`);
});

const VARIABLE = /^(https?|no|all)_proxy$/i;
const before = Object.entries(process.env).filter(([name]) => VARIABLE.test(name));
const address = (server: typeof target) => `127.0.0.1:${(server.address() as AddressInfo).port}`;
const clear = () => Object.keys(process.env).forEach((name) => VARIABLE.test(name) && delete process.env[name]);

beforeEach(async () => {
  clear();
  asked = [];
  for (const server of [target, proxy]) await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(() => {
  clear();
  Object.assign(process.env, Object.fromEntries(before));
  for (const server of [target, proxy]) {
    server.closeAllConnections();
    server.close();
  }
});

async function text(endpoint: string): Promise<string> {
  const parts: Uint8Array[] = [];
  const read = async (_: unknown, bytes: AsyncIterable<Uint8Array>) => {
    for await (const part of bytes) parts.push(part);
  };
  await new Connection(endpoint, null).request('/x', { repository: 'gpt2', revision: 'main' }, read, { most: 100 });
  return Buffer.concat(parts).toString();
}

test('an http address goes through HTTP_PROXY, whose name may be in small letters', async () => {
  for (const name of ['HTTP_PROXY', 'http_proxy']) {
    clear();
    process.env[name] = `http://${address(proxy)}`;
    assert.equal(await text('http://hub.invalid'), 'here');
  }
  assert.deepEqual(asked, ['GET http://hub.invalid/x', 'GET http://hub.invalid/x']);
});

test('an https address goes through a tunnel of HTTPS_PROXY, with its name and password', async () => {
  process.env['HTTPS_PROXY'] = `http://me:secret@${address(proxy)}`;
  process.env['HTTP_PROXY'] = 'http://not-this.invalid';
  await assert.rejects(text('https://hub.invalid'), /the connection to hub\.invalid was lost/);
  assert.deepEqual(asked, [`CONNECT hub.invalid:443 Basic ${Buffer.from('me:secret').toString('base64')}`]);

  tunnelAnswer = '407 Proxy Authentication Required';
  await assert.rejects(text('https://hub.invalid'), (error) => {
    assert.ok(error instanceof HubError);
    assert.match(
      error.message,
      /^the proxy refuses to connect to hub\.invalid \(407\): check HTTPS_PROXY, which may need/,
    );
    return true;
  });
});

test('a host of NO_PROXY, and every host without a proxy, is asked directly', async () => {
  assert.equal(await text(`http://${address(target)}`), 'here');
  process.env['HTTP_PROXY'] = `http://${address(proxy)}`;
  for (const hosts of ['127.0.0.1', 'example.com,127.0.0.1', '*']) {
    process.env['NO_PROXY'] = hosts;
    assert.equal(await text(`http://${address(target)}`), 'here');
  }
  assert.deepEqual(asked, []);
  process.env['NO_PROXY'] = 'example.com';
  assert.equal(await text(`http://${address(target)}`), 'here');
  assert.deepEqual(asked, [`GET http://${address(target)}/x`]);
});

test('a proxy that cannot be reached, and a variable that is no address', async () => {
  process.env['HTTPS_PROXY'] = 'http://127.0.0.1:1';
  await assert.rejects(
    text('https://hub.invalid'),
    matching(
      /^HubError: hub\.invalid cannot be reached \(ECONNREFUSED\): check the network, the proxy/,
      / \(HTTPS_PROXY\), and HF_ENDPOINT, or/,
    ),
  );
  process.env['HTTPS_PROXY'] = 'proxy:3128';
  assert.throws(
    () => new Connection('https://hub.invalid', null),
    /HTTPS_PROXY must be an address such as http:\/\/proxy:3128, not "proxy:3128"/,
  );
});

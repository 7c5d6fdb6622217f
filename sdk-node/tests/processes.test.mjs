// How the package gets along with processes and threads.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Client } from 'twinlock';
import { Server, bareEnvironment } from './server.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

let server;

before(async () => {
  server = await Server.start();
});

after(() => server.close());

/** Runs a script that has the package and a client; gives its output, or fails where it does not end by itself. */
async function run(script, { cwd = root, argv = [] } = {}) {
  const environment = bareEnvironment({ TWINLOCK_ADDRESS: server.address });
  const child = spawn(process.execPath, [...argv, '--input-type=commonjs', '-e', script], { cwd, env: environment });
  const output = { out: '', error: '' };
  child.stdout.on('data', (text) => (output.out += text));
  child.stderr.on('data', (text) => (output.error += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const [code, signal] = await once(child, 'close');
  clearTimeout(timer);
  assert.equal(signal, null, `it did not end by itself: ${JSON.stringify(output)}`);
  return { code, ...output };
}

describe('a process', () => {
  it('ends by itself once its client is closed', async () => {
    const { code, out, error } = await run(`
      const { Client } = require('twinlock');
      const client = new Client();
      (async () => {
        await client.setPassword({ userId: 'a', password: 'p' });
        const watch = client.watchEvents();
        watch.next().then((part) => console.log(part.done));
        await new Promise((resolve) => setTimeout(resolve, 200));
        await client.close();
        console.log('closed');
      })();
    `);
    assert.deepEqual([code, out, error], [0, 'true\nclosed\n', '']);
  });

  it('ends by itself while its client is idle', async () => {
    const { code, out } = await run(`
      const { Client } = require('twinlock');
      new Client().describeUser({ userId: 'a' }).then((user) => console.log(user.enrolled));
    `);
    assert.deepEqual([code, out], [0, 'false\n']);
  });

  it('survives an exit with calls under way', async () => {
    const { code } = await run(`
      const { Client } = require('twinlock');
      const client = new Client();
      for (let call = 0; call < 500; call += 1) client.describeUser({ userId: String(call) }).catch(() => {});
      client.watchEvents().next().catch(() => {});
      setTimeout(() => process.exit(7), 20);
    `);
    assert.equal(code, 7);
  });

  it('gets a panic of the native half as an exception, and goes on', async () => {
    const { code, out, error } = await run(`
      const { Client, InternalError, totp } = require('twinlock');
      const native = require('./lib/native.js');
      const { attempt } = require('./lib/errors.js');
      const tell = (error) => console.log(error instanceof InternalError, error.reason, error.message.includes('asked for'));
      try {
        attempt(() => native.panic());
      } catch (error) {
        tell(error);
      }
      native.NativeClient.prototype.describeUser = () => native.panicLater();
      const client = new Client();
      client.describeUser({ userId: 'a' }).catch(tell).finally(async () => {
        console.log(totp.generateSecret().length, await client.checkHealth());
        await client.close();
      });
    `);
    assert.deepEqual([code, out], [0, 'true INTERNAL false\ntrue INTERNAL false\n32 true\n']);
    assert.match(error, /asked for/);
  });
});

describe('worker threads', () => {
  it('have clients of their own, and may end in the middle of a call', async () => {
    const script = `
      const { parentPort, workerData } = require('node:worker_threads');
      const { Client, totp } = require(${JSON.stringify(root)});
      const client = new Client({ address: workerData });
      const watch = client.watchEvents();
      watch.next().catch(() => {});
      (async () => {
        const users = Array.from({ length: 100 }, (_, number) => client.describeUser({ userId: String(number) }));
        await Promise.all(users);
        const secret = totp.generateSecret();
        parentPort.postMessage(totp.verify(secret, totp.generate(secret)));
        for (;;) await client.describeUser({ userId: 'a' });
      })();
    `;
    const client = new Client({ address: server.address });
    for (let round = 0; round < 3; round += 1) {
      const workers = Array.from({ length: 4 }, () => new Worker(script, { eval: true, workerData: server.address }));
      const steps = await Promise.all(workers.map((worker) => once(worker, 'message')));
      steps.forEach(([step]) => assert(Number.isInteger(step)));
      await Promise.all(workers.map((worker) => worker.terminate()));
      assert.equal((await client.describeUser({ userId: 'a' })).enrolled, false);
    }
    await client.close();
  });

  it('end by themselves', async () => {
    const script = `
      const { Client } = require(${JSON.stringify(root)});
      const client = new Client({ address: require('node:worker_threads').workerData });
      client.describeUser({ userId: 'a' }).then(() => client.close());
    `;
    const [code] = await once(new Worker(script, { eval: true, workerData: server.address }), 'exit');
    assert.equal(code, 0);
  });
});

describe('a missing native half', () => {
  const native = createRequire(import.meta.url).resolve('../lib/native.js');
  const pretend = (platform, arch) => `
    Object.defineProperties(process, { platform: { value: '${platform}' }, arch: { value: '${arch}' } });
    try {
      require('./lib/index.js');
    } catch (error) {
      console.log(error.message);
    }
  `;

  it('is named, with what to do', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'twinlock-missing-'));
    cpSync(join(native, '..'), join(directory, 'lib'), { recursive: true });
    const known = await run(pretend('darwin', 'arm64'), { cwd: directory });
    assert.match(known.out, /@twinlock\/darwin-arm64, is not installed\..*--omit=optional/);
    const unknown = await run(pretend('sunos', 'sparc'), { cwd: directory });
    assert.match(unknown.out, /no native half for this platform, sunos-sparc\. It has some for: .*linux-x64-gnu/);
    rmSync(directory, { recursive: true });
  });
});

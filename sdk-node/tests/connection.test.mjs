// How calls end: with an answer, a signal, a deadline, or the connection.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { getEventListeners } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallerError, Client, RequestError, UnavailableError } from 'twinlock';
import { lossy, own, silence, until } from './network.mjs';
import { Server, shared } from './server.mjs';
import { enrolled } from './user.mjs';

const { server, client } = await shared();

/** The files of an authority, and of two certificates that it has signed. */
function certificates(t) {
  const directory = mkdtempSync(join(tmpdir(), 'twinlock-tls-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const make = (name, ...more) => {
    const files = { cert: join(directory, `${name}.crt`), key: join(directory, `${name}.key`) };
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${name}`];
    execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', files.key, '-out', files.cert, ...more], { stdio: 'ignore' });
    return files;
  };
  const ca = make('ca');
  const signed = (name) => {
    const extensions = [`subjectAltName=DNS:${name}.test,IP:127.0.0.1`, 'basicConstraints=critical,CA:FALSE'];
    return make(name, '-CA', ca.cert, '-CAkey', ca.key, ...extensions.flatMap((extension) => ['-addext', extension]));
  };
  return { ca, web: signed('web'), other: signed('other') };
}

describe('the end of a call', () => {
  it('comes with its signal', async (t) => {
    const silent = own(t, await silence());
    const mute = own(t, new Client({ address: silent.address }));
    const reason = new Error('the visitor went away');
    await assert.rejects(mute.describeUser({ userId: 'a' }, { signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const call = mute.describeUser({ userId: 'a' }, { signal: controller.signal });
    await sleep(50);
    controller.abort(reason);
    const before = performance.now();
    await assert.rejects(call, reason);
    assert(performance.now() - before < 1000);
    const timed = mute.describeUser({ userId: 'a' }, { signal: AbortSignal.timeout(20) });
    await assert.rejects(timed, { name: 'TimeoutError' });
  });

  it('comes with its deadline', async (t) => {
    const silent = own(t, await silence());
    const mute = own(t, new Client({ address: silent.address, timeoutMs: 60_000 }));
    const before = performance.now();
    await assert.rejects(mute.describeUser({ userId: 'a' }, { timeoutMs: 100 }), (error) => {
      assert(error instanceof UnavailableError);
      assert.equal(error.reason, 'DEADLINE_EXCEEDED');
      return true;
    });
    const took = performance.now() - before;
    assert(took >= 99 && took < 5000, `${took} ms`);
  });

  it('is an answer where that comes first', async () => {
    const controller = new AbortController();
    const call = client.describeUser({ userId: 'nobody' }, { signal: controller.signal });
    assert.equal((await call).enrolled, false);
    // A signal may live as long as the process, and must not remember every call.
    assert.deepEqual(getEventListeners(controller.signal, 'abort'), []);
    controller.abort();
  });

  it('says where nobody answers', async (t) => {
    const nobody = own(t, new Client({ address: 'http://127.0.0.1:1' }));
    await assert.rejects(nobody.describeUser({ userId: 'a' }), (error) => {
      assert(error instanceof UnavailableError);
      assert.deepEqual([error.reason, error.code], ['UNAVAILABLE', 'UNAVAILABLE']);
      assert.match(error.message, /127\.0\.0\.1:1 .*twinlock serve/);
      return true;
    });
  });
});

describe('an answer that is lost', () => {
  it('is asked for again by the client, where the call has an id', async (t) => {
    const { userId, recoveryKey, recoveryKeyCreateTime } = await enrolled(client, 'grace');
    const way = own(t, await lossy(server.address));
    const through = own(t, new Client({ address: way.address, timeoutMs: 30_000 }));
    await through.describeUser({ userId });
    way.swallow();
    const call = through.verify({ userId, recoveryKey });
    await until(async () => (await client.describeUser({ userId })).recoveryKeyCreateTime > recoveryKeyCreateTime);
    way.cut();
    const answer = await call;
    // A second attempt would have been one with a key that is used up.
    assert.equal((await client.verify({ userId, recoveryKey: answer.recoveryKey })).method, 'RECOVERY_KEY');
    assert.equal((await client.describeUser({ userId })).secondFactorBackoff.failures, 0);
  });

  it('is an error where it has none', async (t) => {
    const way = own(t, await lossy(server.address));
    const through = own(t, new Client({ address: way.address, timeoutMs: 30_000 }));
    const userId = 'heidi';
    await through.describeUser({ userId });
    way.swallow();
    const call = through.setPassword({ userId, password: 'one' });
    const refused = assert.rejects(call, (error) => error instanceof UnavailableError && error.reason === 'UNAVAILABLE');
    await until(async () => (await client.describeUser({ userId })).hasPassword);
    await client.clearPassword({ userId });
    way.cut();
    await refused;
    assert.equal((await client.describeUser({ userId })).hasPassword, false);
  });
});

describe('a connection', () => {
  it('is made again after a restart, over a socket of the file system', async (t) => {
    const other = await Server.start({ listen: 'unix:server.sock' });
    const address = `unix:${join(other.directory, 'server.sock')}`;
    const socket = own(t, new Client({ address }));
    await socket.setPassword({ userId: 'a', password: 'p' });
    const restarted = other.restart();
    // Asked while nobody listens: repeated until somebody does, or refused as unavailable, and never answered wrongly.
    const asked = await socket.describeUser({ userId: 'a' }).catch((error) => error);
    assert(asked instanceof UnavailableError || asked.hasPassword);
    await restarted;
    assert.equal((await socket.describeUser({ userId: 'a' })).hasPassword, true);
    await other.close();
  });

  it('may be encrypted', async (t) => {
    const files = certificates(t);
    const secure = await Server.start({ file: `[server]\ntls_cert = "${files.web.cert}"\ntls_key = "${files.web.key}"` });
    t.after(() => secure.close());
    const ca = readFileSync(files.ca.cert);
    for (const authority of [ca, ca.toString()]) {
      const known = own(t, new Client({ address: secure.address, tls: { ca: authority } }));
      assert.equal((await known.describeUser({ userId: 'a' })).enrolled, false);
    }
    const unknown = own(t, new Client({ address: secure.address }));
    await assert.rejects(unknown.describeUser({ userId: 'a' }), UnavailableError);
  });

  it('may be that of a caller with a certificate', async (t) => {
    const { ca, web, other } = certificates(t);
    const file = `
      [server]
      tls_cert = "${web.cert}"
      tls_key = "${web.key}"
      tls_client_ca = "${ca.cert}"
      [[caller]]
      name = "web"
      san = "web.test"
    `;
    const secure = await Server.start({ file });
    t.after(() => secure.close());
    const as = ({ cert, key } = {}) => {
      const tls = { ca: readFileSync(ca.cert), ...(cert && { cert: readFileSync(cert), key: readFileSync(key, 'utf8') }) };
      return own(t, new Client({ address: secure.address, tls }));
    };
    assert.equal((await as(web).describeUser({ userId: 'a' })).enrolled, false);
    const isOf = (reason) => (error) => error instanceof CallerError && error.reason === reason;
    await assert.rejects(as(web).eraseUser({ userId: 'a' }), isOf('CALLER_FORBIDDEN'));
    await assert.rejects(as(other).describeUser({ userId: 'a' }), isOf('CALLER_UNAUTHENTICATED'));
    await assert.rejects(as().describeUser({ userId: 'a' }), UnavailableError);
  });

  it('is where the environment says', async (t) => {
    const { TWINLOCK_ADDRESS: before } = process.env;
    process.env.TWINLOCK_ADDRESS = server.address;
    try {
      const here = own(t, new Client());
      assert.equal(here.address, server.address);
      assert.equal(await here.checkHealth(), true);
    } finally {
      before === undefined ? delete process.env.TWINLOCK_ADDRESS : (process.env.TWINLOCK_ADDRESS = before);
    }
  });
});

describe('close', () => {
  it('waits for what is under way, and refuses what comes later', async () => {
    const other = new Client({ address: server.address });
    const calls = Array.from({ length: 200 }, (_, number) => other.describeUser({ userId: `${number}` }));
    let answered = 0;
    calls.forEach((call) => call.then(() => (answered += 1)));
    await Promise.all([other.close(), other.close()]);
    assert.equal(answered, 200);
    await assert.rejects(other.describeUser({ userId: 'a' }), (error) => {
      assert(error instanceof RequestError);
      assert.equal(error.message, 'The client is closed. Make a new one.');
      return true;
    });
    assert.throws(() => other.watchEvents(), RequestError);
    await other.close();
  });

  it('lets go of the connection', async (t) => {
    const way = own(t, await lossy(server.address));
    const other = new Client({ address: way.address });
    await Promise.all(Array.from({ length: 10 }, () => other.describeUser({ userId: 'a' })));
    assert.equal(await way.connections(), 1);
    await other.close();
    await until(async () => (await way.connections()) === 0);
  });
});

// The client against a real server.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect, promisify } from 'node:util';
import { Client, ElevationRequiredError, ProofError, RequestError, StateError, UnavailableError } from 'twinlock';
import { Server } from './server.mjs';
import { calm, enrolled } from './user.mjs';

let server;
let client;

before(async () => {
  server = await Server.start();
  client = new Client({ address: server.address });
});

after(async () => {
  await client.close();
  await server.close();
});

/** A server that takes connections and never says anything. */
async function silence() {
  const sockets = new Set();
  const listener = createServer((socket) => sockets.add(socket.on('error', () => {})));
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    address: `127.0.0.1:${listener.address().port}`,
    async [Symbol.asyncDispose]() {
      sockets.forEach((socket) => socket.destroy());
      listener.close();
      await once(listener, 'close');
    },
  };
}

/** A way to a server that loses answers: what comes back after `swallow()` is gone, and with `cut()` the connection is. */
async function lossy(address) {
  const sockets = new Set();
  let isSwallowing = false;
  const listener = createServer((near) => {
    const far = connect(Number(new URL(address).port), '127.0.0.1');
    near.pipe(far);
    far.on('data', (data) => isSwallowing || near.write(data));
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket.on('error', () => {}).on('close', () => other.destroy()));
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    address: `127.0.0.1:${listener.address().port}`,
    connections: () => promisify(listener.getConnections.bind(listener))(),
    swallow: () => (isSwallowing = true),
    cut() {
      isSwallowing = false;
      cut();
    },
    async [Symbol.asyncDispose]() {
      cut();
      listener.close();
      await once(listener, 'close');
    },
  };
}

async function until(holds) {
  while (!(await holds())) {
    await sleep(10);
  }
}

/** Closes something after a test. */
function own(t, closable) {
  t.after(() => closable[Symbol.asyncDispose]());
  return closable;
}

describe('a life', () => {
  it('goes through all calls', async () => {
    const alice = await enrolled(client, 'alice');
    const { userId, app } = alice;
    assert(Math.abs(alice.recoveryKeyCreateTime - Date.now()) < 10_000);
    assert.equal(await client.acknowledgeRecoveryKey({ userId, recoveryKeyCreateTime: alice.recoveryKeyCreateTime }), undefined);

    const login = await client.evaluateLogin({ userId, channel: 'FORM', authorities: ['staff'] });
    assert.deepEqual(login, { decision: 'VERIFY', reason: 'ENROLLED', notify: false, remindRecoveryKey: false });

    await calm(app);
    const context = { ipAddress: '192.0.2.1', userAgent: 'test' };
    const byCode = await client.verify({ userId, sessionId: 'web', totpCode: app.code(), client: context });
    assert.equal(byCode.method, 'TOTP');
    assert.equal(byCode.recoveryKey, undefined);
    assert.equal(byCode.elevation.method, 'TOTP');
    assert(byCode.elevation.expireTime - byCode.elevation.elevateTime === 600_000);

    const again = client.verify({ userId, totpCode: app.code() });
    await assert.rejects(again, (error) => error instanceof ProofError && error.reason === 'CODE_ALREADY_USED' && error.retryAfterMs > 0);

    const byKey = await client.verify({ userId, recoveryKey: alice.recoveryKey });
    assert.equal(byKey.method, 'RECOVERY_KEY');
    assert.match(byKey.recoveryKey, /^(.{5}-){4}.{5}$/);
    assert(byKey.recoveryKeyCreateTime > alice.recoveryKeyCreateTime);

    const elevation = await client.checkElevation({ userId, sessionId: 'web', maxAgeMs: 60_000 });
    assert.deepEqual(elevation, byCode.elevation);
    const rotated = await client.rotateRecoveryKey({ userId, sessionId: 'web' });
    assert.notEqual(rotated.recoveryKey, byKey.recoveryKey);
    const elevated = await client.elevate({ userId, sessionId: 'phone', recoveryKey: rotated.recoveryKey });
    assert.equal(elevated.elevation.method, 'RECOVERY_KEY');
    assert.equal(typeof elevated.recoveryKey, 'string');

    const described = await client.describeUser({ userId });
    assert.equal(described.enrolled, true);
    assert.deepEqual(described.passwordBackoff, { failures: 0 });

    assert.equal(await client.dropElevation({ userId, sessionId: 'phone' }), undefined);
    await assert.rejects(client.checkElevation({ userId, sessionId: 'phone' }), ElevationRequiredError);
    assert.equal(await client.unenroll({ userId, sessionId: 'web' }), undefined);
    await assert.rejects(client.verify({ userId, totpCode: '123456' }), (error) => {
      assert(error instanceof StateError);
      assert.equal(error.message, 'No enrollment found for this user.');
      return true;
    });
    await client.setPassword({ userId, password: 'correct horse' });
    await client.elevate({ userId, sessionId: 'web', password: 'correct horse' });
    await client.clearPassword({ userId });
    await client.eraseUser({ userId });
    assert.equal(await client.checkHealth(), true);
    assert.equal(await client.checkHealth({ service: 'twinlock.v1.AdminService' }), true);
  });

  it('has administrators', async () => {
    const desk = await enrolled(client, 'desk');
    const bob = await enrolled(client, 'bob');
    await calm(desk.app);
    const proof = { adminUserId: 'desk', totpCode: desk.app.code() };
    await client.unenrollUser({ ...proof, userId: 'bob' });
    await assert.rejects(client.clearBackoff({ ...proof, userId: 'bob' }), ProofError);
    assert.equal((await client.describeUser({ userId: 'bob' })).enrolled, false);
    const otpauthUri = `otpauth://totp/bob?secret=${'A'.repeat(32)}`;
    const imported = await client.importEnrollment({ userId: bob.userId, otpauthUri, issueRecoveryKey: true });
    assert.match(imported.recoveryKey, /^(.{5}-){4}.{5}$/);
    await client.resetUser({ userId: 'bob', why: 'a test' });
    assert.equal(await client.importEnrollment({ userId: 'bob', otpauthUri }), undefined);
  });

  it('gives a repeat the same answer', async () => {
    const { userId, recoveryKey } = await enrolled(client, 'carol');
    const request = { userId, recoveryKey, requestId: randomBytes(16).toString('hex') };
    const [first, second] = [await client.verify(request), await client.verify(request)];
    assert.equal(second.recoveryKey, first.recoveryKey);
    await assert.rejects(client.verify({ ...request, userId: 'carol', recoveryKey: first.recoveryKey }), {
      reason: 'REQUEST_ID_REUSED',
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

describe('what is not of its form', () => {
  const user = { userId: 'alice', sessionId: 'web' };

  it('is refused by its field', async () => {
    const cases = [
      ['sesion_id', () => client.verify({ userId: 'alice', sesionId: 'web', totpCode: '123456' })],
      ['max_age', () => client.checkElevation({ ...user, maxAgeMs: -1 })],
      ['max_age', () => client.checkElevation({ ...user, maxAgeMs: NaN })],
      ['max_age', () => client.checkElevation({ ...user, maxAgeMs: '1' })],
      ['max_age_s', () => client.checkElevation({ ...user, maxAgeS: 1 })],
      ['credential', () => client.verify({ ...user, totpCode: '123456', recoveryKey: 'K' })],
      ['credential', () => client.verify(user)],
      ['verifier', () => client.setPassword({ userId: 'a', password: 'p', passwordHash: 'h' })],
      ['channel', () => client.evaluateLogin({ userId: 'alice', channel: 'form' })],
      ['channel', () => client.evaluateLogin({ userId: 'alice', channel: 'UNSPECIFIED' })],
      ['authorities', () => client.evaluateLogin({ userId: 'alice', channel: 'FORM', authorities: 'admin' })],
      ['authorities', () => client.evaluateLogin({ userId: 'alice', channel: 'FORM', authorities: [1] })],
      ['recovery_key_create_time', () => client.acknowledgeRecoveryKey({ userId: 'a', recoveryKeyCreateTime: 'today' })],
      ['recovery_key_create_time', () => client.acknowledgeRecoveryKey({ userId: 'a', recoveryKeyCreateTime: new Date(NaN) })],
      ['user_id', () => client.describeUser({ userId: 12 })],
      ['user_id', () => client.describeUser({ userId: 'half \ud83d' })],
      ['user_id', () => client.describeUser({})],
      ['user_id', () => client.describeUser()],
      ['request', () => client.describeUser('alice')],
      ['client.ip', () => client.verify({ ...user, totpCode: '123456', client: { ip: '::1' } })],
      ['client', () => client.verify({ ...user, totpCode: '123456', client: '::1' })],
      ['all_sessions', () => client.dropElevation({ userId: 'a', allSessions: 'yes' })],
      ['constructor', () => client.describeUser({ userId: 'a', constructor: 'b' })],
      ['timeout', () => client.describeUser({ userId: 'a' }, { timeoutMs: -1 })],
      ['signal', () => client.describeUser({ userId: 'a' }, { signal: {} })],
      ['timout', () => client.describeUser({ userId: 'a' }, { timoutMs: 1 })],
    ];
    for (const [field, call] of cases) {
      await assert.rejects(call(), (error) => {
        assert(error instanceof RequestError, inspect(error));
        assert.equal(error.reason, 'INVALID_REQUEST');
        assert.deepEqual(error.fields, [field]);
        return true;
      });
    }
  });

  it('is a proof that cannot be one, where a user presents it', async () => {
    for (const totpCode of [123456, ['123456'], { code: '123456' }, '12345', '１２３４５６', '\udc00']) {
      await assert.rejects(client.verify({ ...user, totpCode }), (error) => {
        assert(error instanceof ProofError, inspect(error));
        assert.deepEqual([error.reason, error.fields], ['MALFORMED_CODE', ['totp_code']]);
        assert(!error.message.includes('23456'));
        return true;
      });
    }
  });

  it('is refused before a client is made of it', () => {
    const cases = [
      ['address', { address: 'http://alice:hunter2@127.0.0.1' }],
      ['address', { address: 'redis://127.0.0.1' }],
      ['address', { address: 'http://127.0.0.1', tls: { ca: 'PEM' } }],
      ['tls', { address: 'https://127.0.0.1', tls: { cert: 'PEM' } }],
      ['tls.pem', { address: 'https://127.0.0.1', tls: { pem: 'PEM' } }],
      ['token', { token: 'hunter2\n' }],
      ['token', { token: 5 }],
      ['timeout', { timeoutMs: Infinity }],
      ['addres', { addres: '127.0.0.1' }],
      ['request', null],
    ];
    for (const [field, options] of cases) {
      assert.throws(
        () => new Client(options),
        (error) => {
          assert(error instanceof RequestError, inspect(error));
          assert.deepEqual(error.fields, [field]);
          assert(!inspect(error).includes('hunter2'));
          return true;
        },
      );
    }
  });
});

describe('secrets', () => {
  it('are shown to nobody who does not ask', async () => {
    const token = 'canary-token';
    const other = new Client({ address: server.address, token });
    const show = (value) => inspect(value, { showHidden: true, depth: 20 }) + JSON.stringify(value) + inspect({ ...value });
    assert(!show(other).includes(token));
    assert.equal(other.address, server.address);
    await other.close();

    await client.elevate({ userId: 'dave', sessionId: 'web', asserted: 'test' });
    const pending = await client.enroll({ userId: 'dave', sessionId: 'web' });
    assert(!show(pending).includes(pending.secret));
    assert(!show(pending).includes('otpauth://') && !show(pending).includes('<svg'));
    assert(show(pending).includes('expireTime'));
    assert(pending.otpauthUri.includes(pending.secret) && pending.qrSvg.includes('<svg'));

    const erin = await enrolled(client, 'erin');
    for (const call of ['verify', 'elevate']) {
      const answer = await client[call]({ userId: 'erin', sessionId: 'web', recoveryKey: erin.recoveryKey });
      assert(!show(answer).includes(answer.recoveryKey));
      erin.recoveryKey = answer.recoveryKey;
    }
    const rotated = await client.rotateRecoveryKey({ userId: 'erin', sessionId: 'web' });
    assert(!show(rotated).includes(rotated.recoveryKey));
  });
});

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
    const directory = mkdtempSync(join(tmpdir(), 'twinlock-tls-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const files = ['-keyout', 'key.pem', '-out', 'cert.pem', '-days', '2', '-subj', '/CN=test'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const name = ['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE'];
    execFileSync('openssl', ['req', '-x509', ...key, ...files, ...name], { cwd: directory, stdio: 'ignore' });
    const secure = await Server.start({
      file: `server.tls_cert = "${directory}/cert.pem"\nserver.tls_key = "${directory}/key.pem"`,
    });
    t.after(() => secure.close());
    const ca = readFileSync(join(directory, 'cert.pem'));
    for (const authority of [ca, ca.toString()]) {
      const known = own(t, new Client({ address: secure.address, tls: { ca: authority } }));
      assert.equal((await known.describeUser({ userId: 'a' })).enrolled, false);
    }
    const unknown = own(t, new Client({ address: secure.address }));
    await assert.rejects(unknown.describeUser({ userId: 'a' }), UnavailableError);
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

describe('a thousand calls at once', () => {
  it('are all answered, and leave the event loop its turns', async () => {
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns += 1;
      isOver || setImmediate(count);
    };
    setImmediate(count);
    let turnsOfFirst;
    const calls = Array.from({ length: 1000 }, async (_, number) => {
      const described = await client.describeUser({ userId: `user ${number}` });
      turnsOfFirst ??= turns;
      return described;
    });
    const answers = await Promise.all(calls);
    isOver = true;
    assert(answers.every(({ enrolled }) => enrolled === false));
    assert(turns >= 1000 / 32, `${turns} turns`);
    assert(turnsOfFirst < turns);
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

describe('watchEvents', () => {
  /** Lets something happen again and again until a watch, which opens in its own time, has told of it. */
  async function told(part, happen) {
    let isOver = false;
    part.then(() => (isOver = true), () => (isOver = true));
    while (!isOver) {
      await happen();
      await Promise.race([part, sleep(200)]);
    }
    return part;
  }

  it('tells what happens, and goes on after an event', async () => {
    const first = client.watchEvents();
    assert.equal(first.missedEvents, undefined);
    const { value, done } = await told(first.next(), () => client.setPassword({ userId: 'frank', password: 'one' }));
    assert.equal(done, false);
    assert.deepEqual([value.type, value.userId], ['PASSWORD_SET', 'frank']);
    assert(Math.abs(value.eventTime - Date.now()) < 10_000);
    assert.equal(first.missedEvents, false);
    await first.return();
    assert.deepEqual(await first.next(), { done: true, value: undefined });

    await client.clearPassword({ userId: 'frank' });
    const seen = [];
    for await (const later of client.watchEvents({ afterEventId: value.eventId })) {
      seen.push(later.type);
      if (later.type === 'PASSWORD_CLEARED') {
        break;
      }
    }
    assert(seen.slice(0, -1).every((type) => type === 'PASSWORD_SET'), `${seen}`);
  });

  it('ends with its signal, with the client, and when it is told to', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    const signalled = client.watchEvents({}, { signal: controller.signal }).next();
    const other = new Client({ address: server.address });
    const closed = other.watchEvents();
    const waiting = Promise.all([closed.next(), closed.next()]);
    const returned = client.watchEvents();
    const pending = returned.next();
    await sleep(200);
    controller.abort(reason);
    await assert.rejects(signalled, reason);
    await other.close();
    const end = { done: true, value: undefined };
    assert.deepEqual(await waiting, [end, end]);
    await returned.return();
    assert.deepEqual(await pending, end);
  });

  it('ends in an error with the server, and says afterwards what is missing', async (t) => {
    const other = await Server.start();
    t.after(() => other.close());
    const before = own(t, new Client({ address: other.address }));
    const watch = before.watchEvents();
    const first = await told(watch.next(), () => before.setPassword({ userId: 'a', password: 'p' }));
    await before.setPassword({ userId: 'last', password: 'p' });
    let { eventId, userId } = first.value;
    while (userId !== 'last') {
      ({ eventId, userId } = (await watch.next()).value);
    }
    const second = watch.next();
    await other.restart();
    await assert.rejects(second, (error) => error instanceof UnavailableError && error.reason === 'UNAVAILABLE');
    assert.equal((await watch.next()).done, true);

    const after = own(t, new Client({ address: other.address }));
    const later = after.watchEvents({ afterEventId: eventId });
    const third = await told(later.next(), () => after.clearPassword({ userId: 'a' }));
    assert.equal(third.value.type, 'PASSWORD_CLEARED');
    assert.equal(later.missedEvents, true);
    await later.return();
  });

  it('fails as every call does', async (t) => {
    const nobody = own(t, new Client({ address: 'http://127.0.0.1:1' }));
    const watch = nobody.watchEvents();
    await assert.rejects(watch.next(), UnavailableError);
    assert.deepEqual(await watch.next(), { done: true, value: undefined });
    assert.throws(() => client.watchEvents({ after: 'a' }), RequestError);
  });
});

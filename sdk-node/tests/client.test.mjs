// The client's calls, against a real server.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { Client, ElevationRequiredError, ProofError, RequestError, StateError } from 'twinlock';
import { shared } from './server.mjs';
import { calm, enrolled } from './user.mjs';

const { server, client } = await shared();

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

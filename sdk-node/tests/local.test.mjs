// The functions that need no server, against another implementation.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { Backoff, BlockedError, ProofError, RequestError, TwinlockError, recovery, totp } from 'twinlock';
import { Authenticator } from './authenticator.mjs';
import { calm } from './user.mjs';

const SECRET = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
const at = new Date('2026-11-24T05:33:20Z');

function refused(work, kind, reason, field) {
  assert.throws(work, (error) => {
    assert(error instanceof kind && error instanceof TwinlockError && error instanceof Error, inspect(error));
    assert.equal(error.reason, reason);
    assert.deepEqual(error.fields, field === undefined ? [] : [field]);
    assert.match(error.message, /\.$/);
    assert.match(error.stack, new RegExp(`^${kind.name}: `));
    return true;
  });
}

describe('totp', () => {
  it('computes the codes of RFC 6238, appendix B', () => {
    const time = new Date(1111111109_000);
    assert.equal(totp.generate(SECRET, { at: time, digits: 8 }), '07081804');
    const longer = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA';
    assert.equal(totp.generate(longer, { at: time, digits: 8, algorithm: 'SHA256' }), '68084774');
  });

  it('agrees with another implementation, whatever the parameters', () => {
    for (let round = 0; round < 500; round += 1) {
      const secret = totp.generateSecret();
      const parameters = {
        algorithm: ['SHA1', 'SHA256', 'SHA512'][round % 3],
        digits: 6 + (round % 3),
        periodMs: (1 + ((round * 37) % 90)) * 1000,
      };
      const app = new Authenticator({ ...parameters, secret, period: parameters.periodMs / 1000 });
      const time = new Date(Math.floor(Math.random() * 4e12));
      const step = app.step(time / 1000);
      assert.equal(totp.generate(secret, { at: time, ...parameters }), app.code(step));
      for (const near of [step - 1, step, step + 1].filter((one) => one >= 0)) {
        const found = totp.verify(secret, app.code(near), { at: time, ...parameters });
        assert.equal(app.code(found), app.code(near));
      }
      const uri = totp.buildUri(secret, { issuer: 'Acme: Shop', accountName: 'alice@example.com', ...parameters });
      assert.equal(Authenticator.of(uri).code(step), app.code(step));
      const parsed = totp.parseUri(uri);
      assert.equal(parsed.secret, secret);
      assert.deepEqual({ ...parsed }, { ...parameters, issuer: 'Acme- Shop', accountName: 'alice@example.com' });
    }
  });

  it('takes the present time where none is named', async () => {
    const app = new Authenticator({ secret: SECRET });
    await calm(app);
    assert.equal(totp.generate(SECRET), app.code());
    assert.equal(totp.verify(SECRET, app.code()), app.step());
    refused(() => totp.verify(SECRET, app.wrongCode()), ProofError, 'INVALID_CODE');
  });

  it('refuses a used step, and says when the next one begins', () => {
    const code = totp.generate(SECRET, { at });
    const lastStep = totp.verify(SECRET, code, { at });
    refused(() => totp.verify(SECRET, code, { at, lastStep }), ProofError, 'CODE_ALREADY_USED');
    assert.throws(() => totp.verify(SECRET, code, { at, lastStep }), { retryAfterMs: 10_000, code: 'UNAUTHENTICATED' });
    assert.equal(totp.verify(SECRET, code, { at, lastStep: lastStep - 1 }), lastStep);
  });

  it('keeps to its window', () => {
    const early = totp.generate(SECRET, { at: new Date(at - 60_000) });
    refused(() => totp.verify(SECRET, early, { at }), ProofError, 'INVALID_CODE');
    assert.equal(totp.verify(SECRET, early, { at, window: 2 }), Math.floor(at / 30_000) - 2);
  });

  it('takes for a code what is exactly one, and nothing else', () => {
    const code = totp.generate(SECRET, { at });
    const wide = [...code].map((digit) => String.fromCodePoint(0xff10 + Number(digit))).join('');
    const arabic = [...code].map((digit) => String.fromCodePoint(0x0660 + Number(digit))).join('');
    const others = ['', ` ${code}`, `${code} `, `${code}\n`, `${code}x`, code.slice(1), `-${code.slice(1)}`, '1e5000', wide, arabic];
    for (const other of [...others, '9'.repeat(100_000), Number(code), null, undefined, [code], { code }, '\ud800']) {
      refused(() => totp.verify(SECRET, other, { at }), ProofError, 'MALFORMED_CODE', 'totp_code');
    }
    refused(() => totp.verify(SECRET, '12345678', { at }), ProofError, 'MALFORMED_CODE', 'totp_code');
  });

  it('refuses what is no secret, no time and no option', () => {
    const requests = [
      ['secret', () => totp.verify('', '123456')],
      ['secret', () => totp.verify('GEZDGNBV1', '123456')],
      ['secret', () => totp.verify('GEZDGNBV', '123456')],
      ['secret', () => totp.verify(12, '123456')],
      ['secret', () => totp.generate('A'.repeat(1_000_000))],
      ['at', () => totp.generate(SECRET, { at: new Date(-1) })],
      ['at', () => totp.generate(SECRET, { at: new Date(NaN) })],
      ['at', () => totp.generate(SECRET, { at: 5 })],
      ['last_step', () => totp.verify(SECRET, '123456', { lastStep: -1 })],
      ['last_step', () => totp.verify(SECRET, '123456', { lastStep: 1.5 })],
      ['last_step', () => totp.verify(SECRET, '123456', { lastStep: NaN })],
      ['last_step', () => totp.verify(SECRET, '123456', { lastStep: '1' })],
      ['window', () => totp.verify(SECRET, '123456', { window: 3 })],
      ['window', () => totp.verify(SECRET, '123456', { window: 2 ** 32 })],
      ['digits', () => totp.generate(SECRET, { digits: 6.5 })],
      ['digits', () => totp.generate(SECRET, { digits: 2 ** 32 + 6 })],
      ['period', () => totp.generate(SECRET, { periodMs: 0 })],
      ['period', () => totp.generate(SECRET, { periodMs: 1500 })],
      ['period', () => totp.generate(SECRET, { periodMs: Infinity })],
      ['period', () => totp.generate(SECRET, { periodMs: -1000 })],
      ['algorithm', () => totp.generate(SECRET, { algorithm: 'MD5' })],
      ['windw', () => totp.verify(SECRET, '123456', { windw: 0 })],
      ['issuer', () => totp.buildUri(SECRET, { issuer: '', accountName: 'a' })],
      ['account_name', () => totp.buildUri(SECRET, { issuer: 'a', accountName: 'a\nb' })],
      ['account_name', () => totp.buildUri(SECRET, { issuer: 'a', accountName: 'a\ud800' })],
      ['otpauth_uri', () => totp.parseUri('otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQ')],
      ['otpauth_uri', () => totp.parseUri({})],
      ['text', () => totp.qrSvg('a'.repeat(3000))],
    ];
    for (const [field, work] of requests) {
      refused(work, RequestError, 'INVALID_REQUEST', field);
    }
    assert.equal(totp.generate(SECRET, { at: new Date(0) }), new Authenticator({ secret: SECRET }).code(0));
    assert.match(totp.generate(SECRET, { at: new Date(8.64e15) }), /^\d{6}$/);
  });

  it('makes secrets of 160 bits, and draws', () => {
    const secrets = new Set(Array.from({ length: 100 }, () => totp.generateSecret()));
    assert.equal(secrets.size, 100);
    secrets.forEach((secret) => assert.match(secret, /^[A-Z2-7]{32}$/));
    assert.match(totp.qrSvg('otpauth://totp/a'), /^<svg .*<\/svg>$/s);
  });

  it('shows a parsed secret only to who asks for it', () => {
    const parsed = totp.parseUri(`otpauth://totp/alice?secret=${SECRET}`);
    assert.equal(parsed.secret, SECRET);
    const shown = inspect(parsed, { showHidden: true }) + JSON.stringify(parsed) + inspect({ ...parsed });
    assert(!shown.includes(SECRET), shown);
    assert(shown.includes('alice'));
  });

  it('throws errors for a wrong code that are like all others', () => {
    assert.throws(() => totp.verify(SECRET, '000000', { at }), (error) => {
      assert.equal(error.constructor, ProofError);
      assert.equal(error.name, 'ProofError');
      assert.equal(String(error), 'ProofError: This is not right. Check it and try again.');
      assert.match(inspect(error), /^\[ProofError: This is not right/);
      assert.deepEqual(Object.keys(error).filter((name) => name !== 'message'), ['reason', 'code', 'retryAfterMs', 'fields']);
      assert.equal(error.retryAfterMs, undefined);
      error.stack += '\n    at login';
      assert.equal(error.stack, 'ProofError: This is not right. Check it and try again.\n    at login');
      return true;
    });
  });
});

describe('recovery', () => {
  const owner = { userId: 'alice' };

  it('knows its own keys, however they are typed', () => {
    for (let round = 0; round < 100; round += 1) {
      const key = recovery.generate();
      assert.match(key, /^([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}$/);
      const hash = recovery.hash(key, owner);
      assert.equal(hash.length, 32);
      const typed = key.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l');
      assert.equal(recovery.verify(typed, hash, owner), undefined);
      assert.equal(recovery.verify(key, new Uint8Array(hash), { ...owner, namespace: 'default' }), undefined);
    }
  });

  it('has the hash that the server has', () => {
    // Computed by Python's hashlib; crates/core/src/recovery.rs has the same.
    const hash = recovery.hash('7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B', owner);
    assert.equal(hash.toString('hex'), 'd5cc0aafb11dd6026b3f055f7db920cdcbc57fe2db192a3488c266d84159b166');
  });

  it('binds a key to its user', () => {
    const key = recovery.generate();
    const hash = recovery.hash(key, owner);
    refused(() => recovery.verify(key, hash, { userId: 'bob' }), ProofError, 'INVALID_CODE');
    refused(() => recovery.verify(key, hash, { ...owner, namespace: 'shop' }), ProofError, 'INVALID_CODE');
    refused(() => recovery.verify(recovery.generate(), hash, owner), ProofError, 'INVALID_CODE');
  });

  it('refuses what is not of its form', () => {
    const key = recovery.generate();
    const hash = recovery.hash(key, owner);
    refused(() => recovery.hash('123456', owner), ProofError, 'MALFORMED_CODE', 'recovery_key');
    refused(() => recovery.verify(null, hash, owner), ProofError, 'MALFORMED_CODE', 'recovery_key');
    refused(() => recovery.hash(key, {}), RequestError, 'INVALID_REQUEST', 'user_id');
    refused(() => recovery.hash(key), RequestError, 'INVALID_REQUEST', 'request');
    refused(() => recovery.hash(key, { userId: '\udc00' }), RequestError, 'INVALID_REQUEST', 'user_id');
    refused(() => recovery.verify(key, hash.subarray(1), owner), RequestError, 'INVALID_REQUEST', 'hash');
    refused(() => recovery.verify(key, hash.toString('hex'), owner), RequestError, 'INVALID_REQUEST', 'hash');
  });
});

describe('Backoff', () => {
  it('is the schedule of the server', () => {
    const backoff = new Backoff();
    const waits = Array.from({ length: 15 }, (_, index) => backoff.waitMs(index) / 1000);
    assert.deepEqual(waits, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600]);
    assert.equal(backoff.waitMs(Number.MAX_VALUE), 3_600_000);
    assert.equal(new Backoff({ toleratedFailures: 0, initialMs: 50, maximumMs: 60 }).waitMs(2), 60);
  });

  it('blocks, opens again, and forgets', () => {
    const backoff = new Backoff();
    const later = (milliseconds) => ({ at: new Date(at.getTime() + milliseconds) });
    refused(() => backoff.check(4, at, later(3999)), BlockedError, 'BACKOFF');
    assert.throws(() => backoff.check(4, at, later(1500)), { retryAfterMs: 2500, code: 'RESOURCE_EXHAUSTED' });
    assert.equal(backoff.check(4, at, later(4000)), 4);
    assert.equal(backoff.check(4, at, later(25 * 3_600_000)), 0);
    assert.equal(backoff.check(0), 0);
    assert.equal(backoff.check(0, null), 0);
    refused(() => new Backoff({ hardLimit: 3 }).check(3, at), BlockedError, 'LOCKED');
  });

  it('refuses what is beyond its limits', () => {
    for (const [field, options] of [
      ['tolerated_failures', { toleratedFailures: 11 }],
      ['tolerated_failures', { toleratedFailures: 0.5 }],
      ['initial', { initialMs: -1 }],
      ['maximum', { maximumMs: 31 * 86_400_000 }],
      ['hard_limit', { hardLimit: 1 }],
      ['limit', { limit: 1 }],
    ]) {
      refused(() => new Backoff(options), RequestError, 'INVALID_REQUEST', field);
    }
    refused(() => new Backoff().waitMs(-1), RequestError, 'INVALID_REQUEST', 'failures');
    refused(() => new Backoff().check(1), RequestError, 'INVALID_REQUEST', 'last_failure');
    refused(() => new Backoff().check(1, 5), RequestError, 'INVALID_REQUEST', 'last_failure');
  });
});

// What the tests of the middlewares share: a user who logs in to a site that has one of the frameworks.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { Client, RequestError } from 'twinlock';
import { Server } from './server.mjs';
import { calm, enrolled } from './user.mjs';

/**
 * Tests a site that `start` makes of a client, and that has these pages, for the user and the session that the headers
 * name: POST /login/code, POST /payout (elevated), POST /fresh (elevated within the last three seconds), POST /broken,
 * POST /form (which answers refusals with pages) and POST /broken-form (where that fails). `logged` has the reasons that
 * it logged, by what `middleware` does of itself for all but the last two pages.
 */
export function testSite(start, { secondStep, elevationRequired, errorHandler }) {
  let server;
  let client;
  let site;

  before(async () => {
    server = await Server.start({ file: 'backoff.initial = "20s"' });
    client = new Client({ address: server.address, timeoutMs: 2000 });
    site = await start(client);
  });

  after(async () => {
    await site.close();
    await client.close();
    await server.close();
  });

  async function post(path, { user, session, requestId, body = {} }) {
    const ids = { ...(user && { user }), ...(session && { session }), ...(requestId && { 'request-id': requestId }) };
    const headers = { 'content-type': 'application/json', ...ids };
    const answer = await fetch(site.address + path, { method: 'POST', headers, body: JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: text.startsWith('{') ? JSON.parse(text) : text };
  }

  it('lets a right code in, once, and elevates the session', async () => {
    const { app } = await enrolled(client, 'alice');
    await calm(app);
    const account = { user: 'alice', session: 'web' };
    const before = await post('/payout', account);
    assert.deepEqual([before.status, before.body.reason], [403, 'ELEVATION_REQUIRED']);
    const login = await post('/login/code', { ...account, body: { totpCode: app.code() } });
    assert.deepEqual([login.status, login.body], [200, { method: 'TOTP' }]);
    assert.deepEqual((await post('/payout', account)).body, { paid: true, method: 'TOTP' });
    assert.equal((await post('/payout', { ...account, session: 'other' })).status, 403);
    assert.equal((await post('/fresh', account)).status, 200);
    await new Promise((resolve) => setTimeout(resolve, 3100));
    assert.equal((await post('/fresh', account)).status, 403);
    const again = await post('/login/code', { ...account, body: { totpCode: app.code() } });
    assert.deepEqual([again.status, again.body.reason], [401, 'CODE_ALREADY_USED']);
    assert(again.body.retryAfterMs > 0);
    assert.equal(again.headers.get('cache-control'), 'no-store');
  });

  it('takes a recovery key, and gives the next one', async () => {
    const { recoveryKey } = await enrolled(client, 'bob');
    const account = { user: 'bob', session: 'web' };
    const login = await post('/login/code', { ...account, body: { totpCode: '', recoveryKey } });
    assert.equal(login.status, 200);
    assert.match(login.body.recoveryKey, /^(.{5}-){4}.{5}$/);
    assert.notEqual(login.body.recoveryKey, recoveryKey);
  });

  it('gives the same recovery key again for the same request', async () => {
    const { recoveryKey } = await enrolled(client, 'erin');
    const form = { user: 'erin', session: 'web', requestId: 'form-0123456789abcdef', body: { recoveryKey } };
    const [login, again] = [await post('/login/code', form), await post('/login/code', form)];
    assert.match(login.body.recoveryKey, /^(.{5}-){4}.{5}$/);
    assert.deepEqual(again.body, login.body);
    const other = await post('/login/code', { ...form, requestId: 'form-of-another-page' });
    assert.deepEqual([other.status, other.body.reason], [401, 'INVALID_CODE']);
  });

  it('says how long to wait', async () => {
    const { app } = await enrolled(client, 'carol');
    const guess = { user: 'carol', session: 'web', body: { totpCode: app.wrongCode() } };
    for (let failure = 0; failure < 2; failure += 1) {
      const wrong = await post('/login/code', guess);
      assert.deepEqual([wrong.status, wrong.body.reason], [401, 'INVALID_CODE']);
      assert.equal(wrong.body.message, 'This is not right. Check it and try again.');
    }
    const blocked = await post('/login/code', guess);
    assert.deepEqual([blocked.status, blocked.body.reason], [429, 'BACKOFF']);
    assert(blocked.body.retryAfterMs > 0 && blocked.body.retryAfterMs <= 20_000);
    assert.equal(blocked.headers.get('retry-after'), String(Math.ceil(blocked.body.retryAfterMs / 1000)));
  });

  it('refuses what no app shows, and forms that are none', async () => {
    await enrolled(client, 'dave');
    const bodies = [{}, { totpCode: 123456 }, { totpCode: ['123456'] }, { totpCode: { a: 1 } }, { recoveryKey: 'K' }, []];
    for (const body of bodies) {
      const answer = await post('/login/code', { user: 'dave', session: 'web', body });
      assert.deepEqual([answer.status, answer.body.reason], [400, 'MALFORMED_CODE'], JSON.stringify(body));
    }
  });

  it('lets nobody through who is nobody, or not enrolled', async () => {
    for (const path of ['/login/code', '/payout']) {
      const answer = await post(path, { body: { totpCode: '123456' } });
      assert.deepEqual([answer.status, answer.body.message], [403, 'Log in first.']);
    }
    const unknown = await post('/login/code', { user: 'nobody', session: 'web', body: { totpCode: '123456' } });
    assert.deepEqual([unknown.status, unknown.body.reason], [409, 'NOT_ENROLLED']);
  });

  it('leaves the answer to the site where it wants to give one', async () => {
    const { app } = await enrolled(client, 'frank');
    await calm(app);
    const guess = { user: 'frank', session: 'web', body: { totpCode: app.wrongCode() } };
    const wrong = await post('/form', guess);
    assert.equal(wrong.status, 401);
    assert.match(wrong.headers.get('content-type'), /^text\/html/);
    assert.equal(wrong.body, '<p title="401 INVALID_CODE">This is not right. Check it and try again.</p>');
    assert.equal(wrong.headers.get('cache-control'), 'no-store');
    assert.equal((await post('/broken-form', guess)).status, 418);
    const blocked = await post('/form', guess);
    assert.equal(blocked.status, 429);
    assert.match(blocked.body, /^<p title="429 BACKOFF">/);
    assert(Number(blocked.headers.get('retry-after')) > 0);
    const secret = await post('/form', { ...guess, user: 'u'.repeat(300) });
    assert.equal(secret.body, '<p title="500 INTERNAL">Something went wrong. Try again later.</p>');
  });

  it('tells a browser nothing of what is not its fault', async () => {
    const answer = await post('/payout', { user: 'u'.repeat(300), session: 'web' });
    assert.equal(answer.status, 500);
    assert.deepEqual(answer.body, { reason: 'INTERNAL', message: 'Something went wrong. Try again later.' });
    assert.equal(site.logged.at(-1), 'INVALID_REQUEST');
  });

  it('logs what the site cannot learn from its visitors, and nothing else', async () => {
    site.logged.length = 0;
    await post('/payout', { user: 'alice', session: 'nowhere' });
    await post('/login/code', { user: 'alice', session: 'web', body: { totpCode: 'x' } });
    assert.deepEqual(site.logged, []);
    await post('/form', { user: 'u'.repeat(300), session: 'web', body: { totpCode: '123456' } });
    assert.deepEqual(site.logged, ['/form: INVALID_REQUEST']);
  });

  it('does not start with options that are none', () => {
    const account = { client, user: () => 'alice', session: () => 'web' };
    for (const [field, make] of [
      ['max_age', () => elevationRequired({ ...account, maxAge: 60_000 })],
      ['max_age', () => elevationRequired({ ...account, maxAgeMs: '60000' })],
      ['session', () => elevationRequired({ ...account, session: undefined })],
      ['client', () => secondStep({ ...account, client: undefined })],
      ['user', () => secondStep({ ...account, user: 'alice' })],
      ['proofs', () => secondStep({ ...account, proofs: () => ({}) })],
      ['on_refuse', () => errorHandler({ onRefuse: () => {} })],
      ['log', () => errorHandler({ log: console })],
      ['request', () => secondStep()],
    ]) {
      assert.throws(make, (error) => {
        assert(error instanceof RequestError);
        assert.deepEqual(error.fields, [field]);
        return true;
      });
    }
  });

  it('leaves other errors to others', async () => {
    const answer = await post('/broken', {});
    assert.equal(answer.status, 418);
  });

  it('lets nobody in without a verdict', async () => {
    await server.kill();
    for (const path of ['/login/code', '/payout']) {
      const answer = await post(path, { user: 'alice', session: 'web', body: { totpCode: '123456' } });
      assert.equal(answer.status, 503);
      assert.deepEqual(answer.body, { reason: 'UNAVAILABLE', message: 'This does not work just now. Try again later.' });
      assert.equal(site.logged.at(-1), 'UNAVAILABLE');
    }
  });
}

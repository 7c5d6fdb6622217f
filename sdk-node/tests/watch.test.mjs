// The watch of events, against a real server.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, RequestError, UnavailableError } from 'twinlock';
import { lossy, own, until } from './network.mjs';
import { Server, shared } from './server.mjs';

const { server, client } = await shared();

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
    const disposed = client.watchEvents();
    const pending = Promise.all([returned.next(), disposed.next()]);
    await sleep(200);
    controller.abort(reason);
    await assert.rejects(signalled, reason);
    await other.close();
    const end = { done: true, value: undefined };
    assert.deepEqual(await waiting, [end, end]);
    await returned.return();
    await disposed[Symbol.asyncDispose]();
    assert.deepEqual(await pending, [end, end]);
  });

  it('holds no connection once its signal has ended it between two events', async (t) => {
    const way = own(t, await lossy(server.address));
    const other = new Client({ address: way.address });
    const controller = new AbortController();
    const watch = other.watchEvents({}, { signal: controller.signal });
    await told(watch.next(), () => client.setPassword({ userId: 'grace', password: 'one' }));
    controller.abort();
    await assert.rejects(watch.next(), { name: 'AbortError' });
    await other.close();
    await until(async () => (await way.connections()) === 0);
    assert.equal((await watch.next()).done, true);
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

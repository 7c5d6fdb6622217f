// Networks that do not do as they should.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** A server that takes connections and never says anything. */
export async function silence() {
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
export async function lossy(address) {
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

export async function until(holds) {
  while (!(await holds())) {
    await sleep(10);
  }
}

/** Closes something after a test. */
export function own(t, closable) {
  t.after(() => closable[Symbol.asyncDispose]());
  return closable;
}

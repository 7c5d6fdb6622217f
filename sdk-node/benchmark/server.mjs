// A thousand calls at once against a real server: how long they take, and how long the event loop was ever held up.
//
//   npm run build -- --release && cargo build --release && TWINLOCK_BINARY=../target/release/twinlock node benchmark/server.mjs

import { setTimeout as sleep } from 'node:timers/promises';
import { resolve } from 'node:path';

process.env.TWINLOCK_BINARY = resolve(process.env.TWINLOCK_BINARY ?? '../target/release/twinlock');
const { Server } = await import('../tests/server.mjs');
const { Client } = await import('../lib/index.mjs');

const CALLS = 1000;
const server = await Server.start();
const client = new Client({ address: server.address, timeoutMs: 60_000 });

/** The time of this thread alone, in milliseconds, where Node can tell it. */
function threadTime() {
  const { user, system } = process.threadCpuUsage?.() ?? { user: NaN, system: NaN };
  return (user + system) / 1000;
}

/** The longest turn of the event loop while the work is done, in milliseconds: by the clock, which runs while other
 * processes have the core, and of this thread's own time. */
async function longestTurn(work) {
  const longest = { clock: 0, own: 0 };
  let last = { clock: performance.now(), own: threadTime() };
  let isOver = false;
  const turn = () => {
    const now = { clock: performance.now(), own: threadTime() };
    for (const kind of Object.keys(now)) {
      longest[kind] = Math.max(longest[kind], now[kind] - last[kind]);
    }
    last = now;
    if (!isOver) {
      setImmediate(turn);
    }
  };
  setImmediate(turn);
  await work();
  isOver = true;
  return longest;
}

const all = (call) => () => Promise.all(Array.from({ length: CALLS }, (_, number) => call(number)));
const kinds = {
  describeUser: (number) => client.describeUser({ userId: `user ${number}` }),
  verify: (number) => client.verify({ userId: `user ${number}`, totpCode: '123456' }).catch(() => {}),
};

console.log(`Node ${process.version}, ${CALLS} calls at once`);
for (const [name, call] of Object.entries(kinds)) {
  const longest = [];
  const took = [];
  for (let round = 0; round < 11; round += 1) {
    const start = performance.now();
    longest.push(await longestTurn(all(call)));
    took.push(performance.now() - start);
    await sleep(50);
  }
  const most = (kind) => Math.max(...longest.map((turn) => turn[kind])).toFixed(1).replace('NaN', '?');
  const median = took.toSorted((a, b) => a - b)[5].toFixed(0);
  console.log(`${name.padEnd(13)} ${median} ms; longest turn ${most('own')} ms of the thread, ${most('clock')} ms by the clock`);
}

await client.close();
await server.close();

// A thousand calls at once against a real server: how long they take, and how long the event loop was ever held up.
// Part of `benchmark/run`.

import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../lib/index.mjs';
import { Server } from '../tests/server.mjs';

const CALLS = 1000;
const ROUNDS = 11;
const MOST_MS = 5;

const server = await Server.start();
const client = new Client({ address: server.address, timeoutMs: 60_000 });

/** What this thread has worked, in milliseconds. Node 20 does not tell. */
function worked() {
  const { user, system } = process.threadCpuUsage?.() ?? { user: NaN, system: NaN };
  return (user + system) / 1000;
}

/** The longest turn of the event loop while the work is done, in milliseconds: by the clock, which runs while other
 * processes have the core, and of this thread's own work, which Linux brings up to date every four milliseconds. */
async function longestTurn(work) {
  const longest = { clock: 0, own: 0 };
  let last = { clock: performance.now(), own: worked() };
  let isOver = false;
  const turn = () => {
    const now = { clock: performance.now(), own: worked() };
    for (const kind of Object.keys(now)) {
      longest[kind] = Math.max(longest[kind], now[kind] - last[kind]);
    }
    last = now;
    isOver || setImmediate(turn);
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

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

console.log(`Node ${process.version}, ${CALLS} calls at once, medians`);
for (const [name, call] of Object.entries(kinds)) {
  const turns = [];
  const took = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = performance.now();
    turns.push(await longestTurn(all(call)));
    took.push(performance.now() - start);
    await sleep(50);
  }
  const longest = { clock: median(turns.map(({ clock }) => clock)), own: median(turns.map(({ own }) => own)) };
  const own = Number.isNaN(longest.own) ? '' : `, ${longest.own.toFixed(1)} ms of them this thread's work`;
  console.log(`${name.padEnd(13)} ${median(took).toFixed(0)} ms; the longest turn ${longest.clock.toFixed(1)} ms${own}`);
  if (Math.min(longest.own, longest.clock) > MOST_MS) {
    console.error(`Promised is that no turn takes longer than ${MOST_MS} ms.`);
    process.exitCode = 1;
  }
}

await client.close();
await server.close();

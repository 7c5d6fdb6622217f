// Every scenario file through the package and over both stores, many at the same time: they mostly wait.

import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { stringify } from 'smol-toml';
import { Life, files, read } from './scenario.mjs';
import { Server } from './server.mjs';

const shared = new Map();
const servers = [];

/** Scenarios with the same settings share a server; one that restarts its server has it to itself. */
function serverOf({ settings, restarts }, store) {
  const file = stringify({ ...settings, server: { deadline: '20s', ...settings.server } });
  const key = store + file;
  const started = (!restarts && shared.get(key)) || Server.start({ file, redis: store === 'redis' });
  if (!restarts) {
    shared.set(key, started);
  }
  servers.push(started);
  return started;
}

/** Adds a line to the table that `tests/scenario_table` of the repository prints. */
function record(store, name, end) {
  if (process.env.SCENARIO_RESULTS) {
    appendFileSync(join(process.env.SCENARIO_RESULTS, 'node'), `node\t${store}\t${name}\t${end}\n`);
  }
}

// Some scenarios hold only where a call takes less than a second.
describe('scenarios', { concurrency: 128 }, () => {
  after(async () => {
    for (const started of await Promise.allSettled(new Set(servers))) {
      // One that did not start has failed its scenarios already; the others are closed all the same.
      await started.value?.close();
    }
  });
  for (const name of files()) {
    for (const store of ['embedded', 'redis']) {
      it(`${name} over ${store}`, async () => {
        let end = 'failed';
        try {
          const scenario = read(name);
          await new Life(scenario, await serverOf(scenario, store)).run();
          end = 'passed';
        } finally {
          record(store, name, end);
        }
      });
    }
  }
});

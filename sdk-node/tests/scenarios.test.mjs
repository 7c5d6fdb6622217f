// Every scenario file through the package, all at the same time: they mostly wait.

import { after, describe, it } from 'node:test';
import { stringify } from 'smol-toml';
import { Life, files, read } from './scenario.mjs';
import { Server } from './server.mjs';

const shared = new Map();
const servers = [];

/** Scenarios with the same settings share a server; one that restarts its server has it to itself. */
function serverOf({ settings, restarts }) {
  const file = stringify(settings);
  const started = (!restarts && shared.get(file)) || Server.start({ file });
  if (!restarts) {
    shared.set(file, started);
  }
  servers.push(started);
  return started;
}

describe('scenarios', { concurrency: 128 }, () => {
  after(async () => {
    for (const server of new Set(await Promise.all(servers))) {
      await server.close();
    }
  });
  for (const name of files()) {
    it(name, async () => {
      const scenario = read(name);
      await new Life(scenario, await serverOf(scenario)).run();
    });
  }
});

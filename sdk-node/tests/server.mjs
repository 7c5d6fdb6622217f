// The real server as a process of its own, on free ports of loopback, with a directory of its own.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'twinlock';

export const repository = fileURLToPath(new URL('../..', import.meta.url));
const binary = process.env.TWINLOCK_BINARY ?? join(repository, 'target/debug/twinlock');
const LONGEST_START_MS = 60_000;

/** The environment without what configures Twinlock. */
export function bareEnvironment(more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('TWINLOCK_'));
  return { ...Object.fromEntries(kept), ...more };
}

/** A server and a client of it for all tests of a file, which are closed after them. */
export async function shared() {
  const server = await Server.start();
  const client = new Client({ address: server.address });
  after(async () => {
    await client.close();
    await server.close();
  });
  return { server, client };
}

/** What is still running. A test that goes wrong, or is interrupted, leaves nothing behind. */
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

export class Server {
  #arguments = [];
  #process;
  #redis;

  /** Makes a new dataset, in a Redis of its own if that is wanted, and starts a server on it. `file` is the text of its
   * configuration. */
  static async start({ file, listen = '127.0.0.1:0', redis = false } = {}) {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'twinlock-node-'));
    server.listen = listen;
    try {
      if (redis) {
        await server.#startRedis();
      }
      if (file !== undefined) {
        writeFileSync(join(server.directory, 'twinlock.toml'), file);
        server.#arguments.push('--config', 'twinlock.toml');
      }
      const place = { cwd: server.directory, env: bareEnvironment(), timeout: LONGEST_START_MS };
      await promisify(execFile)(binary, ['init', '--new-dataset', ...server.#arguments], place);
      await server.#start();
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  async #startRedis() {
    const options = ['--port', '0', '--unixsocket', 'redis.sock', '--appendonly', 'yes'];
    this.#redis = this.#spawn('redis-server', options, 'redis');
    await this.#told(this.#redis, 'redis', /ready to accept connections/i);
    const url = `unix://${join(this.directory, 'redis.sock')}`;
    this.#arguments.push('--set', 'store.kind=redis', '--set', `store.redis.urls=${url}`);
  }

  async #start() {
    const probes = ['--set', 'telemetry.listen=127.0.0.1:0'];
    this.#process = this.#spawn(binary, ['serve', ...this.#arguments, '--listen', this.listen, ...probes], 'server');
    const said = await this.#told(this.#process, 'server', /Probes are on/);
    [, this.address] = /is listening on (\S+)/.exec(said);
  }

  /** Starts a process that says what it has to say in files. A pipe could keep this process from ending, or that one
   * from going on where nobody reads it. */
  #spawn(program, options, name) {
    const files = ['out', 'log'].map((kind) => openSync(join(this.directory, `${name}.${kind}`), kind === 'out' ? 'w' : 'a'));
    const child = spawn(program, options, { cwd: this.directory, env: bareEnvironment(), stdio: ['ignore', ...files] });
    files.forEach(closeSync);
    children.add(child);
    child.once('exit', () => children.delete(child)).unref();
    return child;
  }

  /** What a process has said, once that is what is waited for. */
  async #told(child, name, wanted) {
    const deadline = Date.now() + LONGEST_START_MS;
    while (Date.now() < deadline && !hasEnded(child)) {
      const said = this.#said(name, 'out');
      if (wanted.test(said)) {
        return said;
      }
      await sleep(10);
    }
    throw new Error(`${child.spawnfile} did not start: ${this.#said(name, 'out')}${this.#said(name, 'log')}`);
  }

  #said(name, kind) {
    return readFileSync(join(this.directory, `${name}.${kind}`), 'utf8');
  }

  /** Kills it at once, as `kill -9` does. */
  async kill() {
    await end(this.#process);
  }

  /** Kills it and starts it on the same data. */
  async restart() {
    await this.kill();
    await this.#start();
  }

  async close() {
    await this.kill();
    await end(this.#redis);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

async function end(child) {
  if (child !== undefined && !hasEnded(child)) {
    child.ref();
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

function hasEnded({ exitCode, signalCode }) {
  return exitCode !== null || signalCode !== null;
}

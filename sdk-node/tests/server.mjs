// The real server as a process of its own, on free ports of loopback, with a directory of its own.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const repository = fileURLToPath(new URL('../..', import.meta.url));
const binary = process.env.TWINLOCK_BINARY ?? join(repository, 'target/debug/twinlock');

/** The environment without what configures Twinlock. */
export function bareEnvironment(more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('TWINLOCK_'));
  return { ...Object.fromEntries(kept), ...more };
}

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
    if (redis) {
      await server.#startRedis();
    }
    if (file !== undefined) {
      writeFileSync(join(server.directory, 'twinlock.toml'), file);
      server.#arguments.push('--config', 'twinlock.toml');
    }
    const place = { cwd: server.directory, env: bareEnvironment() };
    await promisify(execFile)(binary, ['init', '--new-dataset', ...server.#arguments], place);
    await server.#start();
    return server;
  }

  async #startRedis() {
    const options = ['--port', '0', '--unixsocket', 'redis.sock', '--appendonly', 'yes'];
    const redis = spawn('redis-server', options, { cwd: this.directory, stdio: ['ignore', 'pipe', 'ignore'] });
    this.#redis = redis;
    for await (const line of createInterface({ input: redis.stdout })) {
      if (/ready to accept connections/i.test(line)) {
        redis.stdout.resume();
        redis.unref();
        redis.stdout.unref();
        const url = `unix://${join(this.directory, 'redis.sock')}`;
        this.#arguments.push('--set', 'store.kind=redis', '--set', `store.redis.urls=${url}`);
        return;
      }
    }
    throw new Error('redis-server ended');
  }

  async #start() {
    const log = openSync(join(this.directory, 'log'), 'a');
    const probes = ['--set', 'telemetry.listen=127.0.0.1:0'];
    this.#process = spawn(binary, ['serve', ...this.#arguments, '--listen', this.listen, ...probes], {
      cwd: this.directory,
      env: bareEnvironment(),
      stdio: ['ignore', 'pipe', log],
    });
    closeSync(log);
    for await (const line of createInterface({ input: this.#process.stdout })) {
      this.address = /is listening on (\S+)/.exec(line)?.[1] ?? this.address;
      if (line.includes('Probes are on')) {
        this.#process.stdout.resume();
        this.#process.unref();
        this.#process.stdout.unref();
        return;
      }
    }
    throw new Error(`twinlock serve ended: ${this.log()}`);
  }

  log() {
    return readFileSync(join(this.directory, 'log'), 'utf8');
  }

  /** Kills it at once, as `kill -9` does. */
  async kill() {
    await this.#end('SIGKILL');
  }

  /** Kills it and starts it on the same data. */
  async restart() {
    await this.kill();
    await this.#start();
  }

  async #end(signal, child = this.#process) {
    if (child.exitCode === null && child.signalCode === null) {
      child.ref();
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    }
  }

  async close() {
    await this.kill();
    if (this.#redis) {
      await this.#end('SIGKILL', this.#redis);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

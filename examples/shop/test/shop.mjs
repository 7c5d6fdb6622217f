// A shop and its sidecar, started by the one command of its README, on free ports and with a directory of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const examples = fileURLToPath(new URL('../..', import.meta.url));

export class Shop {
  #environment;
  #log;
  #product;
  #sidecar;

  static async start(name) {
    const shop = new Shop();
    shop.directory = mkdtempSync(join(tmpdir(), `${name}-`));
    const [port, sidecar] = await Promise.all([freePort(), freePort()]);
    shop.address = `http://127.0.0.1:${port}`;
    shop.sidecarAddress = `http://127.0.0.1:${sidecar}`;
    shop.password = 'a password of the test';
    const kept = Object.entries(process.env).filter(
      ([key]) => !key.startsWith('TWINLOCK_') && !key.startsWith('SHOP_'),
    );
    shop.#environment = {
      ...Object.fromEntries(kept),
      SHOP_DATA: shop.directory,
      SHOP_PASSWORD: shop.password,
      SHOP_PORT: String(port),
      TWINLOCK_SERVER__LISTEN: `127.0.0.1:${sidecar}`,
      TWINLOCK_TELEMETRY__LISTEN: '127.0.0.1:0',
      // Codes count once: so that nobody waits half a minute for the next one.
      TWINLOCK_TOTP__PERIOD: '15s',
      TWINLOCK_TOTP__WINDOW: '2',
      // Long enough to be seen counting.
      TWINLOCK_BACKOFF__INITIAL: '5s',
    };
    shop.#log = openSync(join(shop.directory, 'log'), 'a');
    shop.#product = shop.#spawn(join(examples, name, 'run'));
    try {
      await shop.#until(async () => (await fetch(`${shop.address}/login`)).ok, shop.#product);
      await shop.#until(() => shop.#healthy(), shop.#product);
    } catch (error) {
      await shop.stop();
      throw error;
    }
    return shop;
  }

  get log() {
    return readFileSync(join(this.directory, 'log'), 'utf8');
  }

  /** Lets the sidecar take what comes and answer nothing. */
  pauseSidecar() {
    this.#signalSidecar('SIGSTOP');
  }

  /** Kills the sidecar at once, as `kill -9` does. The shop goes on. */
  async killSidecar() {
    this.#signalSidecar('SIGKILL');
    await this.#until(
      () =>
        this.#healthy().then(
          () => false,
          () => true,
        ),
      this.#product,
    );
  }

  /** Starts it again on the same data. */
  async startSidecar() {
    this.#sidecar = this.#spawn(join(examples, 'shop/sidecar'), [this.directory]);
    await this.#until(() => this.#healthy(), this.#sidecar);
  }

  /** Ends all elevations of a user, as time would. */
  async dropElevations(userId) {
    const answer = await fetch(`${this.sidecarAddress}/v1/users/${userId}/elevation`, {
      method: 'DELETE',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ allSessions: true }),
    });
    if (!answer.ok) throw new Error(await answer.text());
  }

  /** The id by which Twinlock knows somebody; in the order in which the shop has made them. */
  userId(name) {
    return String(1 + ['alice', 'bob', 'carol', 'root'].indexOf(name));
  }

  async stop() {
    for (const child of [this.#product, this.#sidecar]) {
      if (child && child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill('SIGTERM');
        await ended;
      }
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  #signalSidecar(signal) {
    process.kill(Number(readFileSync(join(this.directory, 'sidecar.pid'), 'utf8')), signal);
  }

  #spawn(command, parameters = []) {
    return spawn(command, parameters, { env: this.#environment, stdio: ['ignore', this.#log, this.#log] });
  }

  async #healthy() {
    return (await fetch(`${this.sidecarAddress}/openapi.json`)).ok;
  }

  async #until(condition, child) {
    for (let tries = 0; tries < 600; tries += 1) {
      if (await condition().catch(() => false)) return;
      if (child.exitCode !== null) break;
      await sleep(50);
    }
    throw new Error(`it did not come to pass: ${condition}\n${this.log}`);
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

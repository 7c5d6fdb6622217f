// An authenticator app: its camera reads the screen, and its codes come from another implementation than ours.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { URI } from 'otpauth';
import { prepareZXingModule, readBarcodes } from 'zxing-wasm/reader';

const wasm = new URL(import.meta.resolve('zxing-wasm/reader/zxing_reader.wasm'));
prepareZXingModule({ overrides: { wasmBinary: readFileSync(wasm).buffer } });

// How many steps before and after the present one the server takes; `totp.window`.
const WINDOW = 2;
// Not where a step ends: a code must still be good when it arrives.
const MARGIN = 3000;

export class Authenticator {
  #totp;
  #last = 0;

  constructor(uri) {
    this.uri = uri;
    this.#totp = URI.parse(uri);
  }

  /** Reads the QR code that a page shows, as a camera would. */
  static async scan(page) {
    const png = await page.locator('main').screenshot();
    const [found] = await readBarcodes(new Blob([png]), { formats: ['QRCode'] });
    return new Authenticator(found.text);
  }

  get secret() {
    return this.#totp.secret.base32;
  }

  get label() {
    return `${this.#totp.issuer}: ${this.#totp.label}`;
  }

  /** The earliest code that was not shown yet and that the server takes; none of the past, where it is to last. */
  async code({ lasting = false } = {}) {
    const period = this.#totp.period * 1000;
    const now = Math.floor((Date.now() + MARGIN) / period);
    const step = Math.max(lasting ? now : now - WINDOW, this.#last + 1);
    this.#last = step;
    await sleep(Math.max(0, (step - WINDOW) * period + 200 - Date.now()));
    return this.#totp.generate({ timestamp: step * period });
  }

  /** The code that was shown last. */
  usedCode() {
    return this.#totp.generate({ timestamp: this.#last * this.#totp.period * 1000 });
  }

  /** A code that this app shows at no time near now. */
  wrongCode() {
    const period = this.#totp.period * 1000;
    const near = [-4, -3, -2, -1, 0, 1, 2, 3, 4].map((away) =>
      this.#totp.generate({ timestamp: Date.now() + away * period }),
    );
    return ['000000', '111111', '222222', '333333', '444444', '555555', '666666', '777777', '888888', '999999'].find(
      (code) => !near.includes(code),
    );
  }
}

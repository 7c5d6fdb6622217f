// An authenticator app, by RFC 6238 and Node's own cryptography: nothing of it is the package's.

import { createHmac } from 'node:crypto';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

export class Authenticator {
  #key;

  constructor({ secret, algorithm = 'SHA1', digits = 6, period = 30 }) {
    this.#key = decode(secret);
    Object.assign(this, { algorithm, digits: Number(digits), period: Number(period) });
  }

  /** Of what an `otpauth://` URI says. */
  static of(uri) {
    const query = [...new URL(uri).searchParams].map(([name, value]) => [name.toLowerCase(), value]);
    return new Authenticator(Object.fromEntries(query));
  }

  step(seconds = Date.now() / 1000) {
    return Math.floor(seconds / this.period);
  }

  code(step = this.step()) {
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(step));
    const hash = createHmac(this.algorithm, this.#key).update(counter).digest();
    const value = hash.readUInt32BE(hash.at(-1) & 0xf) & 0x7fffffff;
    return String(value % 10 ** this.digits).padStart(this.digits, '0');
  }

  /** One that it shows in none of the four steps before and after now. */
  wrongCode() {
    const near = Array.from({ length: 9 }, (_, index) => this.code(this.step() - 4 + index));
    for (let number = 0; ; number += 1) {
      const code = String(number).padStart(this.digits, '0');
      if (!near.includes(code)) {
        return code;
      }
    }
  }
}

function decode(secret) {
  const bits = [...secret.toUpperCase()].map((symbol) => ALPHABET.indexOf(symbol).toString(2).padStart(5, '0')).join('');
  return Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
}

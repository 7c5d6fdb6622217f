// A wrong code against three steps, from the secret's base32 on, as a product does it for each login. All rows in
// one run, round by round, so that a busy moment of the machine meets all of them; the medians are compared.
//
//   npm run build -- --release && cargo build --release -p twinlock-node --example floor
//   (cd benchmark && npm ci) && node benchmark/local.mjs [--check]
//
// --check ends with 1 where the promised ratios do not hold.

import { copyFileSync, mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { ProofError, totp } = require('../lib/index.js');
const otplib12 = require('otplib12');
const otplib13 = require('otplib13');
const otpauth = require('otpauth');
const speakeasy = require('speakeasy');

const secret = totp.generateSecret();
const near = [-60_000, -30_000, 0, 30_000, 60_000].map((later) => totp.generate(secret, { at: new Date(Date.now() + later) }));
const code = ['000000', '111111', '222222', '333333', '444444', '555555'].find((wrong) => !near.includes(wrong));

const floor = native('libfloor.so').floor;
otplib12.totp.options = { window: 1 };
otplib12.authenticator.options = { window: 1 };

const rows = {
  floor: { calls: 20_000, verify: () => floor(secret, code, Date.now()) === 1 },
  twinlock: { calls: 20_000, verify: twinlock },
  otpauth: { calls: 1_000, verify: () => new otpauth.TOTP({ secret }).validate({ token: code, window: 1 }) !== null },
  'otplib 12': { calls: 1_000, verify: () => otplib12.authenticator.check(code, secret) },
  'otplib 13': { calls: 1_000, verify: () => otplib13.verifySync({ secret, token: code, epochTolerance: 30 }).valid },
  speakeasy: {
    calls: 1_000,
    verify: () => speakeasy.totp.verify({ secret, encoding: 'base32', token: code, window: 1 }),
  },
};

function twinlock() {
  try {
    totp.verify(secret, code);
    return true;
  } catch (error) {
    if (error instanceof ProofError) {
      return false;
    }
    throw error;
  }
}

function native(name) {
  const copy = join(mkdtempSync(join(tmpdir(), 'floor-')), 'floor.node');
  copyFileSync(new URL(`../../target/release/examples/${name}`, import.meta.url), copy);
  return require(copy);
}

function nanoseconds({ calls, verify }) {
  const start = process.hrtime.bigint();
  for (let call = 0; call < calls; call += 1) {
    if (verify()) {
      throw new Error('a wrong code was accepted');
    }
  }
  return Number(process.hrtime.bigint() - start) / calls;
}

const ROUNDS = 41;
const times = Object.fromEntries(Object.keys(rows).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, row] of Object.entries(rows)) {
    times[name].push(nanoseconds(row));
  }
}
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const medians = Object.fromEntries(Object.entries(times).map(([name, numbers]) => [name, median(numbers)]));

console.log(`Node ${process.version}, a wrong code against three steps`);
for (const [name, time] of Object.entries(medians)) {
  const ratio = time / medians.twinlock;
  console.log(`${name.padEnd(10)} ${(time / 1000).toFixed(2).padStart(8)} µs ${ratio.toFixed(2).padStart(8)} ×`);
}

const faster = medians.otpauth / medians.twinlock;
const overFloor = medians.twinlock / medians.floor;
console.log(`twinlock is ${faster.toFixed(1)} times faster than otpauth, and takes ${overFloor.toFixed(2)} times the floor`);
if (process.argv.includes('--check') && (faster < 20 || overFloor > 1.5)) {
  console.error('Promised are 20 times faster than otpauth, and 1.5 times the floor.');
  process.exitCode = 1;
}

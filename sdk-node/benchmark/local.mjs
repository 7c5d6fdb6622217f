// A wrong code against three steps, from the secret's base32 on, as a product does it for each login. All rows take
// turns in one run, and the medians of what they are to each other are compared. Counted is the processor time of the
// process: that stands still while other processes have the core, and holds the collection of the garbage that a row
// makes. Part of `benchmark/run`.

import { copyFileSync, mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const require = createRequire(import.meta.url);
const { ProofError, totp } = require('../lib/index.js');
const otplib12 = require('otplib12');
const otplib13 = require('otplib13');
const otpauth = require('otpauth');
const speakeasy = require('speakeasy');

const floor = native(process.platform === 'darwin' ? 'libfloor.dylib' : 'libfloor.so').floor();
otplib12.authenticator.options = { window: 1 };

const rows = {
  floor: (secret, code) => floor(secret, code, Date.now()) === 1,
  twinlock,
  otpauth: (secret, code) => new otpauth.TOTP({ secret }).validate({ token: code, window: 1 }) !== null,
  'otplib 12': (secret, code) => otplib12.authenticator.check(code, secret),
  'otplib 13': (secret, code) => otplib13.verifySync({ secret, token: code, epochTolerance: 30 }).valid,
  speakeasy: (secret, code) => speakeasy.totp.verify({ secret, encoding: 'base32', token: code, window: 1 }),
};

function twinlock(secret, code) {
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

/** Users and the code that one of them types, which is wrong for as long as the run takes. */
const cases = Array.from({ length: 256 }, () => {
  const secret = totp.generateSecret();
  const near = Array.from({ length: 64 }, (_, step) => totp.generate(secret, { at: new Date(Date.now() + (step - 2) * 30_000) }));
  const codes = Array.from({ length: 100 }, (_, number) => String(number * 9_973).padStart(6, '0'));
  return { secret, code: codes.find((code) => !near.includes(code)) };
});

function native(name) {
  const copy = join(mkdtempSync(join(tmpdir(), 'floor-')), 'floor.node');
  copyFileSync(new URL(`../../target/release/examples/${name}`, import.meta.url), copy);
  return require(copy);
}

const SLICE_MS = 120;
const ROUNDS = 11;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

/** Microseconds of processor time for one code. */
function measure(verify, passes) {
  // Nobody pays for what another one has left.
  collect();
  const start = process.cpuUsage();
  for (let pass = 0; pass < passes; pass += 1) {
    for (const { secret, code } of cases) {
      if (verify(secret, code)) {
        throw new Error('a wrong code was accepted');
      }
    }
  }
  const { user, system } = process.cpuUsage(start);
  return (user + system) / (passes * cases.length);
}

const passes = {};
const times = {};
for (const [name, verify] of Object.entries(rows)) {
  measure(verify, 40);
  passes[name] = Math.ceil(SLICE_MS / ((measure(verify, 40) * cases.length) / 1000));
  times[name] = [];
}
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, verify] of Object.entries(rows)) {
    times[name].push(measure(verify, passes[name]));
  }
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const ratio = (name, to) => median(times[name].map((time, round) => time / times[to][round]));

console.log(`Node ${process.version}, OpenSSL ${process.versions.openssl}: a wrong code against three steps, µs of processor time`);
for (const [name, all] of Object.entries(times)) {
  const range = `[${Math.min(...all).toFixed(2)} .. ${Math.max(...all).toFixed(2)}]`;
  console.log(`${name.padEnd(10)} ${median(all).toFixed(2).padStart(8)}  ${range.padEnd(18)} ${ratio(name, 'twinlock').toFixed(2).padStart(8)} ×`);
}

// An exception alone takes V8 a fourth of a microsecond, which is a third of the floor. What Node's own HMAC takes depends
// on its release: with Node 24 several times as long as with 20 and 22.
const leastTimes = Number.parseInt(process.versions.node, 10) >= 24 ? 20 : 8;
// The rest of it is texts that go by way of the heap: the floor reads them with `unsafe`, and the package has none.
const MOST_OVER_FLOOR = 2.5;
const [faster, overFloor] = [ratio('otpauth', 'twinlock'), ratio('twinlock', 'floor')];
console.log(`twinlock is ${faster.toFixed(1)} times faster than otpauth, and takes ${overFloor.toFixed(2)} times the floor`);
if (faster < leastTimes || overFloor > MOST_OVER_FLOOR) {
  console.error(`Promised are ${leastTimes} times faster than otpauth, and ${MOST_OVER_FLOOR} times the floor.`);
  process.exitCode = 1;
}

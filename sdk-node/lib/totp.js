'use strict';

const native = require('./native.js');
const { attempt, broken, errorOf, malformed, unwrap } = require('./errors.js');
const { checked, date, number, text } = require('./forms.js');

const parameters = { algorithm: text, digits: number, periodMs: number };
const forms = {
  generate: { at: date, ...parameters },
  verify: { lastStep: number, at: date, window: number, ...parameters },
  uri: { issuer: text, accountName: text, ...parameters },
  backoff: { toleratedFailures: number, initialMs: number, maximumMs: number, hardLimit: number },
  check: { lastFailure: date, at: date },
};

const NONE = Object.freeze({});
const WRONG = native.wrongCode();

function generateSecret() {
  return attempt(() => native.generateSecret());
}

function generate(secret, options = NONE) {
  const { at = Date.now(), ...rest } = checked(forms.generate, options);
  text('secret', secret);
  return attempt(() => native.generate(secret, at, rest));
}

// A wrong code is what attacks consist of, so its way is kept short.
function verify(secret, code, options) {
  if (typeof secret !== 'string' || typeof code !== 'string') {
    throw typeof secret === 'string' ? malformed('totp_code', 'must be a text') : malformed('secret', 'must be a text');
  }
  let outcome;
  if (options === undefined) {
    outcome = step(secret, code, Date.now());
  } else {
    const { lastStep, at = Date.now(), ...rest } = checked(forms.verify, options);
    outcome = step(secret, code, at, lastStep, rest);
  }
  if (outcome === null) {
    throw errorOf(WRONG);
  }
  return unwrap(outcome);
}

function step(...values) {
  try {
    return native.verify(...values);
  } catch {
    throw broken();
  }
}

function buildUri(secret, options) {
  const { issuer = '', accountName = '', ...rest } = checked(forms.uri, options);
  text('secret', secret);
  return attempt(() => native.buildUri(secret, issuer, accountName, rest));
}

function parseUri(uri) {
  text('otpauth_uri', uri);
  const parsed = attempt(() => native.parseUri(uri));
  const { secret } = parsed;
  return Object.defineProperty(parsed, 'secret', { get: () => secret, enumerable: false });
}

function qrSvg(uri) {
  text('text', uri);
  return attempt(() => native.qrSvg(uri));
}

class Backoff {
  #schedule;

  constructor(options = NONE) {
    const given = checked(forms.backoff, options);
    this.#schedule = attempt(() => native.backoffSchedule(given));
  }

  waitMs(failures) {
    number('failures', failures);
    return attempt(() => this.#schedule.wait(failures));
  }

  check(failures, options = NONE) {
    const { lastFailure, at = Date.now() } = checked(forms.check, options);
    number('failures', failures);
    return attempt(() => this.#schedule.check(failures, lastFailure, at));
  }
}

module.exports = { Backoff, buildUri, generate, generateSecret, parseUri, qrSvg, verify };

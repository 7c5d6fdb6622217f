'use strict';

const native = require('./native.js');
const { RefusedProof, attempt, broken, malformed, unwrap } = require('./errors.js');
const { checked, date, number, one, text } = require('./forms.js');

const parameters = { algorithm: text, digits: number, periodMs: number };
const forms = {
  generate: { at: date, ...parameters },
  verify: { lastStep: number, at: date, window: number, ...parameters },
  uri: { issuer: text, accountName: text, ...parameters },
};

const NONE = Object.freeze({});
const WRONG = native.wrongCode();
const verifyByDefaults = native.verifier();

function generateSecret() {
  return attempt(() => native.generateSecret());
}

function generate(secret, options = NONE) {
  const { at = Date.now(), ...rest } = checked(forms.generate, options);
  one(text, 'secret', secret);
  return attempt(() => native.generate(secret, at, rest));
}

// A wrong code is what attacks consist of, so its way is kept short. And V8 compiles what often returns, but never what
// always throws: so the one function that throws has nothing else to do.
function verify(secret, code, options) {
  const accepted = stepOrRefusal(secret, code, options);
  if (typeof accepted === 'number') {
    return accepted;
  }
  throw accepted;
}

function stepOrRefusal(secret, code, options) {
  if (typeof secret !== 'string' || typeof code !== 'string') {
    throw typeof secret === 'string' ? malformed('totp_code', 'must be a text') : malformed('secret', 'must be a text');
  }
  const outcome = step(secret, code, options === undefined ? NONE : checked(forms.verify, options));
  return outcome === null ? new RefusedProof(WRONG) : unwrap(outcome);
}

function step(secret, code, { lastStep, at = Date.now(), algorithm, digits, periodMs, window }) {
  try {
    if ((algorithm ?? digits ?? periodMs ?? window) === undefined) {
      return verifyByDefaults(secret, code, at, lastStep);
    }
    return native.verifyWith(secret, code, at, lastStep, { algorithm, digits, periodMs, window });
  } catch {
    throw broken();
  }
}

function buildUri(secret, options) {
  const { issuer = '', accountName = '', ...rest } = checked(forms.uri, options);
  one(text, 'secret', secret);
  return attempt(() => native.buildUri(secret, issuer, accountName, rest));
}

function parseUri(uri) {
  one(text, 'otpauth_uri', uri);
  const parsed = attempt(() => native.parseUri(uri));
  const { secret } = parsed;
  return Object.defineProperty(parsed, 'secret', { get: () => secret, enumerable: false });
}

function qrSvg(uri) {
  one(text, 'text', uri);
  return attempt(() => native.qrSvg(uri));
}

module.exports = { buildUri, generate, generateSecret, parseUri, qrSvg, verify };

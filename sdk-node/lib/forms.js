'use strict';

// The form of what comes in, so that a misspelled option is an error and not an option that is left out, and
// nothing is turned into a text or a number on its way. Whether it makes sense is for the rules to say.

const { types } = require('node:util');
const { malformed } = require('./errors.js');

/** A copy of what was given, if every field of it is known and of its kind; null is like leaving it out. */
function checked(form, given, path = '') {
  if (typeof given !== 'object' || given === null) {
    throw malformed(path === '' ? 'request' : path.slice(0, -1), 'must be an object');
  }
  const fields = {};
  for (const [name, value] of Object.entries(given)) {
    const field = path + protobuf(name);
    if (!Object.hasOwn(form, name)) {
      throw malformed(field, 'is no field that is known here');
    }
    if (value !== undefined && value !== null) {
      fields[name] = form[name](field, value);
    }
  }
  return fields;
}

/** The name of a field in the protobuf files, where a duration does not have its unit in its name. */
function protobuf(name) {
  return name.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function text(field, value) {
  if (typeof value !== 'string') {
    throw malformed(field, 'must be a text');
  }
  // Half of a surrogate pair would become another character, and one user another.
  if (!value.isWellFormed()) {
    throw malformed(field, 'must be text that UTF-8 can hold');
  }
  return value;
}

function texts(field, value) {
  if (!Array.isArray(value)) {
    throw malformed(field, 'must be an array of texts');
  }
  return value.map((one) => text(field, one));
}

function flag(field, value) {
  if (typeof value !== 'boolean') {
    throw malformed(field, 'must be true or false');
  }
  return value;
}

function number(field, value) {
  if (typeof value !== 'number') {
    throw malformed(field, 'must be a number');
  }
  return value;
}

function date(field, value) {
  if (!types.isDate(value) || Number.isNaN(value.getTime())) {
    throw malformed(field, 'must be a valid Date');
  }
  return value.getTime();
}

/** A text, or its bytes. */
function pem(field, value) {
  return text(field, value instanceof Uint8Array ? Buffer.from(value).toString() : value);
}

function nested(form) {
  return (field, value) => checked(form, value, `${field}.`);
}

const client = nested({ ipAddress: text, userAgent: text });
const proof = { totpCode: text, recoveryKey: text };
const call = { userId: text, sessionId: text, requestId: text, client };
const administration = { adminUserId: text, totpCode: text, userId: text, requestId: text, client };

const requests = {
  enroll: { ...call, accountName: text },
  confirmEnrollment: { ...call, totpCode: text },
  unenroll: call,
  describeUser: { userId: text },
  evaluateLogin: { userId: text, authorities: texts, channel: text, resource: text, requestId: text, client },
  verify: { ...call, ...proof },
  elevate: { ...call, ...proof, password: text, passwordHash: text, asserted: nested({ how: text }) },
  checkElevation: { userId: text, sessionId: text, maxAgeMs: number },
  dropElevation: { userId: text, sessionId: text, allSessions: flag },
  rotateRecoveryKey: call,
  acknowledgeRecoveryKey: { userId: text, recoveryKeyCreateTime: date },
  setPassword: { userId: text, password: text, passwordHash: text },
  clearPassword: { userId: text },
  unenrollUser: administration,
  clearBackoff: administration,
  importEnrollment: { userId: text, otpauthUri: text, requestId: text, issueRecoveryKey: flag },
  eraseUser: { userId: text, requestId: text },
  resetUser: { userId: text, why: text, requestId: text },
};

const watch = { afterEventId: text };
const tls = nested({ ca: pem, cert: pem, key: pem });
const clientOptions = { address: text, token: text, timeoutMs: number, tls };

function signal(field, value) {
  if (!(value instanceof AbortSignal)) {
    throw malformed(field, 'must be an AbortSignal');
  }
  return value;
}

const callOptions = { signal, timeoutMs: number };

module.exports = { checked, text, number, date, requests, watch, clientOptions, callOptions };

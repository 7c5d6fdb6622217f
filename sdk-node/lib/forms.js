'use strict';

// The form of what comes in, so that a misspelled option is an error and not an option that is left out, and nothing is
// turned into a text or a number on its way. Whether it makes sense is for the rules to say.

const { types } = require('node:util');
const { malformed } = require('./errors.js');

/** A copy of what was given, if every field of it is known and of its kind; null is like leaving it out. */
function checked(form, given, path = '') {
  if (typeof given !== 'object' || given === null) {
    throw malformed(path === '' ? 'request' : path.slice(0, -1), 'must be an object');
  }
  const fields = {};
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(form, name)) {
      throw malformed(path + protobuf(name), 'is no field that is known here');
    }
    const value = given[name];
    if (value !== undefined && value !== null) {
      const { problem, read } = form[name];
      const found = problem(value, name, path);
      if (found !== undefined) {
        throw malformed(path + protobuf(name), found);
      }
      fields[name] = read === undefined ? value : read(value, name, path);
    }
  }
  return fields;
}

/** The value, if it is of its kind; else the error in the name of its field. */
function one(kind, field, value) {
  const found = kind.problem(value);
  if (found !== undefined) {
    throw malformed(field, found);
  }
  return kind.read === undefined ? value : kind.read(value);
}

/** The name of a field in the protobuf files, where a duration does not have its unit in its name. */
function protobuf(name) {
  return name.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const text = {
  problem(value) {
    if (typeof value !== 'string') {
      return 'must be a text';
    }
    // Half of a surrogate pair would become another character, and one user another.
    return value.isWellFormed() ? undefined : 'must be text that UTF-8 can hold';
  },
};

const texts = {
  problem: (value) =>
    Array.isArray(value) && value.every((inner) => text.problem(inner) === undefined)
      ? undefined
      : 'must be an array of texts',
  read: (value) => [...value],
};

const flag = { problem: (value) => (typeof value === 'boolean' ? undefined : 'must be true or false') };
const number = { problem: (value) => (typeof value === 'number' ? undefined : 'must be a number') };

const date = {
  problem: (value) => (types.isDate(value) && !Number.isNaN(value.getTime()) ? undefined : 'must be a valid Date'),
  read: (value) => value.getTime(),
};

/** A text, or its bytes. */
const pem = {
  problem: (value) => (value instanceof Uint8Array ? undefined : text.problem(value)),
  read: (value) => (typeof value === 'string' ? value : Buffer.from(value).toString()),
};

const signal = { problem: (value) => (value instanceof AbortSignal ? undefined : 'must be an AbortSignal') };

function nested(form) {
  return {
    problem: () => undefined,
    read: (value, name, path) => checked(form, value, `${path}${protobuf(name)}.`),
  };
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
  elevate: { ...call, ...proof, password: text, passwordHash: text, asserted: text },
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
  checkHealth: { service: text },
};

const watch = { afterEventId: text };
const tls = nested({ ca: pem, cert: pem, key: pem });
const clientOptions = { address: text, token: text, timeoutMs: number, tls };
const callOptions = { signal, timeoutMs: number };

module.exports = { callOptions, checked, clientOptions, date, number, one, requests, text, watch };

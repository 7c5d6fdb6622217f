'use strict';

/** What all errors have in common. The families are those of docs/sdk-errors.md. */
class TwinlockError extends Error {
  constructor(message, { reason, code, retryAfterMs, fields = [] }) {
    super(message);
    this.reason = reason;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.fields = fields;
  }
}

class ProofError extends TwinlockError {}
class BlockedError extends TwinlockError {}
class ElevationRequiredError extends TwinlockError {}
class StateError extends TwinlockError {}
class RequestError extends TwinlockError {}
class CallerError extends TwinlockError {}
class UnavailableError extends TwinlockError {}
class InternalError extends TwinlockError {}

const classes = {
  TwinlockError,
  ProofError,
  BlockedError,
  ElevationRequiredError,
  StateError,
  RequestError,
  CallerError,
  UnavailableError,
  InternalError,
};

for (const [name, { prototype }] of Object.entries(classes)) {
  Object.defineProperty(prototype, 'name', { value: name, configurable: true, writable: true });
}

const families = {
  proof: ProofError,
  blocked: BlockedError,
  elevation: ElevationRequiredError,
  state: StateError,
  request: RequestError,
  caller: CallerError,
  unavailable: UnavailableError,
  internal: InternalError,
};

/** What the native half answered, or the error that it describes. */
function unwrap(outcome) {
  if (outcome?.family !== undefined) {
    throw errorOf(outcome);
  }
  return outcome;
}

function errorOf({ family, message, ...details }) {
  return new families[family](message, details);
}

/**
 * The error of a wrong code: like the others, but made without `Error`'s constructor, and so without a stack
 * trace. To record one takes several times as long as to compare the code, and guessers would have it recorded.
 */
function RefusedProof({ message, reason, code }) {
  this.message = message;
  this.reason = reason;
  this.code = code;
  this.retryAfterMs = undefined;
  this.fields = [];
}

RefusedProof.prototype = Object.create(ProofError.prototype, {
  stack: {
    get: Error.prototype.toString,
    // Tools that shorten or lengthen traces write them, and must not fail here alone.
    set(value) {
      Object.defineProperty(this, 'stack', { value, configurable: true, writable: true });
    },
    configurable: true,
  },
});

/** A field that is not of its form: what a user presents is a proof that cannot be one. */
function malformed(field, problem) {
  const isProof = field === 'totp_code' || field === 'recovery_key';
  return new (isProof ? ProofError : RequestError)(`${field} ${problem}. Correct it and call again.`, {
    reason: isProof ? 'MALFORMED_CODE' : 'INVALID_REQUEST',
    code: 'INVALID_ARGUMENT',
    fields: [field],
  });
}

function closed() {
  return new RequestError('The client is closed. Make a new one.', {
    reason: 'INVALID_REQUEST',
    code: 'INVALID_ARGUMENT',
    fields: ['client'],
  });
}

/** What stands for an exception of the native half: a panic. What it said is on standard error. */
function broken() {
  return new InternalError("Something went wrong inside of Twinlock's SDK. Please report it.", {
    reason: 'INTERNAL',
    code: 'INTERNAL',
  });
}

/** What a function of the native half answers. */
function attempt(work) {
  let outcome;
  try {
    outcome = work();
  } catch {
    throw broken();
  }
  return unwrap(outcome);
}

module.exports = { RefusedProof, attempt, broken, classes, closed, errorOf, malformed, unwrap };

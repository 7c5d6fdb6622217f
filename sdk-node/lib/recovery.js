'use strict';

const native = require('./native.js');
const { attempt, malformed } = require('./errors.js');
const { checked, one, text } = require('./forms.js');

const owner = { userId: text, namespace: text };

function generate() {
  return attempt(() => native.generateRecoveryKey());
}

function hash(recoveryKey, options) {
  one(text, 'recovery_key', recoveryKey);
  const { userId = '', namespace } = checked(owner, options);
  return attempt(() => native.hashRecoveryKey(recoveryKey, userId, namespace));
}

function verify(recoveryKey, hash, options) {
  one(text, 'recovery_key', recoveryKey);
  if (!(hash instanceof Uint8Array)) {
    throw malformed('hash', 'must be the bytes that hash gave');
  }
  const { userId = '', namespace } = checked(owner, options);
  attempt(() => native.verifyRecoveryKey(recoveryKey, hash, userId, namespace));
}

module.exports = { generate, hash, verify };

// One set of classes for both kinds of modules, so that `instanceof` holds between them.
import twinlock from './index.js';

export const {
  Backoff,
  BlockedError,
  CallerError,
  Client,
  ElevationRequiredError,
  InternalError,
  ProofError,
  RequestError,
  StateError,
  TwinlockError,
  UnavailableError,
  recovery,
  totp,
} = twinlock;

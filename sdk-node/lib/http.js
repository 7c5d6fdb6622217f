'use strict';

// What the middlewares have in common: what is asked of a request, and what a browser is told of an error.

const {
  classes: { BlockedError, ElevationRequiredError, ProofError, StateError, UnavailableError },
} = require('./errors.js');
const { checked, number, one } = require('./forms.js');

// Options are checked when a middleware is made: a misspelled `maxAgeMs` would let through what is too old.
const ofClient = { problem: (value) => (typeof value === 'object' ? undefined : 'must be a Client') };
const callback = { problem: (value) => (typeof value === 'function' ? undefined : 'must be a function') };
const forms = {
  secondStep: { client: ofClient, user: callback, session: callback, requestId: callback, proof: callback },
  elevationRequired: { client: ofClient, user: callback, session: callback, maxAgeMs: number },
  errorHandler: { onRefused: callback, log: callback },
};

/** Verifies the proof in a request's body. */
function secondStep(options) {
  const { client, user, session, requestId, proof = proofOf } = required(options, forms.secondStep, ['client', 'user']);
  return async (request) => {
    const asked = {
      ...(await proof(request)),
      userId: given(await user(request)),
      sessionId: session && given(await session(request)),
      requestId: (await requestId?.(request)) ?? undefined,
      client: context(request),
    };
    const answer = await client.verify(asked);
    request.twinlock = { ...request.twinlock, verified: answer };
  };
}

/** Goes on only with an elevated session. */
function elevationRequired(options) {
  const { client, user, session, maxAgeMs } = required(options, forms.elevationRequired, ['client', 'user', 'session']);
  return async (request) => {
    const userId = given(await user(request));
    const sessionId = given(await session(request));
    const elevation = await client.checkElevation({ userId, sessionId, maxAgeMs });
    request.twinlock = { ...request.twinlock, elevation };
  };
}

function required(options, form, names) {
  const known = checked(form, options);
  names.forEach((name) => one(form[name], name, known[name]));
  return known;
}

/** How errors are handled; `log` is the framework's own way to log. */
function handling(options = {}, log) {
  return { log, ...checked(forms.errorHandler, options) };
}

/** The HTTP answer to an error. What is not the browser's fault is not told to it, but logged. */
function answer(error, request, log) {
  const told = answerTo(error);
  if (told.status >= 500) {
    log(error, request);
  }
  return told;
}

/** A visitor who is nobody yet is no failure of the program. */
function given(id) {
  if (id === undefined || id === null || id === '') {
    throw new ElevationRequiredError('Log in first.', { reason: 'ELEVATION_REQUIRED', code: 'PERMISSION_DENIED' });
  }
  return id;
}

/** What a form or a JSON body presents. Neither is a proof that cannot be one. */
function proofOf({ body }) {
  const { totpCode, recoveryKey } = body ?? {};
  return totpCode || !recoveryKey ? { totpCode: totpCode ?? '' } : { recoveryKey };
}

function context(request) {
  return { ipAddress: request.ip, userAgent: request.headers['user-agent'] };
}

function answerTo(error) {
  const status = statusOf(error);
  const headers = { 'Cache-Control': 'no-store' };
  if (status === 500) {
    return { status, headers, body: { reason: 'INTERNAL', message: 'Something went wrong. Try again later.' } };
  }
  const { reason, message, retryAfterMs } = error;
  if (retryAfterMs !== undefined && (status === 429 || status === 503)) {
    headers['Retry-After'] = String(Math.ceil(retryAfterMs / 1000));
  }
  const told = error instanceof UnavailableError ? 'This does not work just now. Try again later.' : message;
  return { status, headers, body: { reason, message: told, retryAfterMs } };
}

function statusOf(error) {
  if (error instanceof ProofError) {
    return error.reason === 'MALFORMED_CODE' ? 400 : 401;
  }
  if (error instanceof BlockedError) {
    return 429;
  }
  if (error instanceof ElevationRequiredError) {
    return 403;
  }
  if (error instanceof StateError) {
    return 409;
  }
  return error instanceof UnavailableError ? 503 : 500;
}

module.exports = { answer, elevationRequired, handling, secondStep };

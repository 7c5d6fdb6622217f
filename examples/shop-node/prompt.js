// What the pages that ask for a proof have in common: repeats that are harmless, and a sentence for each failure.

import { createHash, randomBytes } from 'node:crypto';
import { BlockedError, Client, ProofError, StateError, TwinlockError, UnavailableError } from 'twinlock';

export const client = new Client({ timeoutMs: 3000 }); // at TWINLOCK_ADDRESS, with TWINLOCK_TOKEN

// Where Twinlock's own sentence is for the backend and not for whom it serves.
const SENTENCES = {
  MALFORMED_CODE: 'This is not complete. A code has 6 digits, a recovery key five groups of five characters.',
  NOT_ENROLLED: 'Two-step verification is off for this account.',
  NO_PENDING_ENROLLMENT: 'The set-up took too long. Start it again.',
  ADMIN_NOT_ENROLLED: 'Set up two-step verification for yourself first.',
  SELF_UNENROLL: 'Turn off your own in your settings, or ask another administrator.',
  USER_NOT_FOUND: 'Two-step verification is off for this account.',
};

/** Why a form is shown again: a sentence, a status, for how many seconds to wait, and whether to send it as it is. */
export function explain(error) {
  if (!(error instanceof TwinlockError)) throw error;
  const sentence = SENTENCES[error.reason] ?? error.message;
  if (error instanceof BlockedError) {
    // Without a wait, only an administrator ends the lock.
    return { sentence, status: 429, wait: error.retryAfterMs && Math.ceil(error.retryAfterMs / 1000) };
  }
  if (error instanceof ProofError) return { sentence, status: 422 };
  if (error instanceof StateError) return { sentence, status: 409 };
  console.error(error);
  if (error instanceof UnavailableError) {
    return {
      sentence: 'This cannot be checked just now. Nothing is lost: try again in a moment.',
      status: 503,
      keep: true,
    };
  }
  return { sentence: 'Something went wrong. Try again later.', status: 500 };
}

/** The problem of an attempt, with the wait that it may have begun. */
export async function told(error, user) {
  const problem = explain(error);
  if (error instanceof ProofError) problem.wait = (await waiting(user))?.wait;
  return problem;
}

/** A problem that tells of a wait which runs already, if one does. */
export async function waiting(user) {
  try {
    const { blockedUntil } = (await client.describeUser({ userId: user.id })).secondFactorBackoff;
    const wait = Math.ceil((blockedUntil - Date.now()) / 1000);
    return wait > 0 ? { sentence: 'There were failed attempts.', wait } : undefined;
  } catch (error) {
    if (error instanceof TwinlockError) return undefined;
    throw error;
  }
}

/** A page. The ticket in its form is a new one, unless the same form is to be sent again. */
export function page(request, response, view, { problem, ...more } = {}) {
  const { notices = [] } = request.session;
  if (notices.length > 0) request.session.notices = [];
  const ticket = problem?.keep ? request.body.ticket : randomBytes(18).toString('base64url');
  const typed = problem?.keep ? request.body : {};
  if (problem?.status) response.status(problem.status);
  if (problem?.status === 429 && problem.wait) response.set('Retry-After', String(problem.wait));
  response.render(view, { user: request.user, notices, problem, ticket, typed, ...more });
}

/** Something for the next page to say. */
export function notice(request, sentence) {
  request.session.notices = [...(request.session.notices ?? []), sentence];
}

/**
 * What a call for this user and session has. The request id comes from the form's ticket and what was typed: a form
 * that is sent twice, or again because its answer was lost, gets the same answer, a new recovery key included; another
 * code in the same form is another request.
 */
export function call(request, user, what, more = {}, ticket = request.body.ticket) {
  const sessionId = twoStepSession(request);
  const parts = [what, sessionId, ticket, ...Object.values(more)];
  const requestId = createHash('sha256').update(parts.join('\0')).digest('hex');
  return { userId: user.id, sessionId, requestId, ...more, client: origin(request) };
}

/** The id by which Twinlock knows the session. It outlives the new id of the cookie after a login. */
export function twoStepSession(request) {
  request.session.twoStep ??= randomBytes(18).toString('base64url');
  return request.session.twoStep;
}

/** Where an attempt comes from, for the audit trail. */
export function origin(request) {
  return { ipAddress: request.ip, userAgent: request.get('User-Agent') };
}

/** The code or the recovery key of a form. Apps show codes with a blank in the middle, and people type it. */
export function presented({ body }) {
  const { recovery_key: recoveryKey, code = '' } = body;
  return recoveryKey === undefined
    ? { totpCode: String(code).replace(/\s/g, '') }
    : { recoveryKey: String(recoveryKey) };
}

/** Where to go on: only within the shop. */
export function target(request) {
  const wanted = String(request.body?.next || request.query.next || '/');
  const here = new URL('http://shop.invalid');
  const url = URL.canParse(wanted, here) ? new URL(wanted, here) : here;
  return url.origin === here.origin ? url.pathname + url.search : '/';
}

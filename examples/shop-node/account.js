// Logging in and out, and the prompt "confirm it is you".

import { Router } from 'express';
import { StateError, TwinlockError } from 'twinlock';
import { secondStep } from 'twinlock/express';
import { call, client, explain, origin, page, presented, target, told, twoStepSession, waiting } from './prompt.js';
import { userById, userByPassword } from './users.js';

const PENDING_MS = 10 * 60_000;

/** Who gave the right password a while ago, and still owes a second step. */
export function pendingUser({ session }) {
  const { pending } = session;
  const fresh = pending && Math.abs(Date.now() - pending.since) < PENDING_MS;
  return fresh ? userById(pending.userId) : undefined;
}

/** Only for who is logged in. */
export function loggedIn(request, response, next) {
  if (request.user) return next();
  response.redirect(`/login?next=${encodeURIComponent(request.originalUrl)}`);
}

export const account = Router();

account.get('/login', (request, response) => {
  page(request, response, 'login', { next: target(request), name: '' });
});

// The first step. Twinlock says what is owed after it, and the login waits for that in the session.
account.post('/login', async (request, response) => {
  const { username = '', password = '' } = request.body;
  const again = (sentence, status) =>
    page(request, response, 'login', { next: target(request), name: username, problem: { sentence, status } });
  const user = await userByPassword(String(username), String(password));
  if (!user) return again('Please enter a correct username and password.', 422);
  let owed;
  try {
    const { authorities, id: userId } = user;
    owed = await client.evaluateLogin({ userId, channel: 'FORM', authorities, client: origin(request) });
  } catch (error) {
    explain(error);
    return again('The second step cannot be checked now. Try again later.', 503);
  }
  if (owed.decision === 'DENY') return again('This account cannot log in here.', 403);
  if (owed.decision === 'ALLOW') {
    await renew(request, { userId: user.id });
    return response.redirect(target(request));
  }
  // The session of somebody who was logged in before must not stand for the one who logs in now.
  await renew(request, { pending: { userId: user.id, next: target(request), since: Date.now() } });
  // Made now, so that both submits of a double click name the same one.
  twoStepSession(request);
  response.redirect(owed.decision === 'VERIFY' ? '/login/code' : '/two-step/set-up');
});

function halfWay(request, response, next) {
  if (pendingUser(request)) return next();
  response.redirect('/login');
}

function askForSecondStep(request, response, problem) {
  const withKey = 'key' in request.query;
  page(request, response, 'prompt', { title: 'Second step', next: '', withKey, withPassword: false, problem });
}

account.get('/login/code', halfWay, async (request, response) => {
  askForSecondStep(request, response, await waiting(pendingUser(request)));
});

account.post(
  '/login/code',
  halfWay,
  secondStep({
    client,
    user: (request) => pendingUser(request).id,
    session: twoStepSession,
    requestId: (request) => call(request, pendingUser(request), 'verify', presented(request)).requestId,
    proof: presented,
  }),
  (request, response) => {
    // The session gets its new id by the next request only. So if the answer to this one is lost, it can be asked for
    // again, and with it the new recovery key.
    request.session.pending.passed = true;
    const issued = request.twinlock.verified;
    const next = '/login/finish';
    if (issued.recoveryKey) return page(request, response, 'recovery-key', { issued, used: true, next });
    response.redirect(next);
  },
  async (error, request, response, next) => {
    if (!(error instanceof TwinlockError)) return next(error);
    if (!(error instanceof StateError)) {
      return askForSecondStep(request, response, await told(error, pendingUser(request)));
    }
    // An administrator has turned it off meanwhile: the login owes something else now.
    await renew(request, {});
    response.redirect('/login');
  },
);

// The end of a login that has passed its second step.
account.get('/login/finish', halfWay, async (request, response) => {
  const { pending, twoStep, notices } = request.session;
  if (!pending.passed) return response.redirect('/login');
  await renew(request, { userId: pending.userId, twoStep, notices });
  response.redirect(pending.next);
});

account.post('/logout', async (request, response) => {
  if (request.user) {
    // Where it fails: nobody has the session after this, and elevations end by themselves.
    await client.dropElevation({ userId: request.user.id, sessionId: twoStepSession(request) }).catch(explain);
  }
  await renew(request, {});
  response.redirect('/login');
});

account.get('/confirm', loggedIn, async (request, response) => {
  const { enrolled } = await client.describeUser({ userId: request.user.id });
  const problem = enrolled ? await waiting(request.user) : undefined;
  askAgain(request, response, { withPassword: !enrolled, problem });
});

// A fresh proof: of the second factor, or of the password where there is none yet.
account.post('/confirm', loggedIn, async (request, response) => {
  const { user } = request;
  const withPassword = 'password' in request.body;
  // Twinlock compares it with the shop's own hash, and so makes those wait who guess.
  const proof = withPassword
    ? { password: String(request.body.password), passwordHash: user.passwordHash }
    : presented(request);
  const next = target(request);
  let issued;
  try {
    issued = await client.elevate(call(request, user, 'elevate', proof));
  } catch (error) {
    // It is on or off since the page was shown, and asks for the other.
    if (error instanceof StateError) return response.redirect(request.originalUrl);
    const problem = withPassword ? explain(error) : await told(error, user);
    return askAgain(request, response, { withPassword, problem });
  }
  if (issued.recoveryKey) return page(request, response, 'recovery-key', { issued, used: true, next });
  response.redirect(next);
});

function askAgain(request, response, more) {
  const withKey = 'key' in request.query;
  page(request, response, 'prompt', { title: 'Confirm it is you', next: target(request), withKey, ...more });
}

/** A session with a new id, and nothing in it but this. */
async function renew(request, content) {
  await new Promise((resolve, reject) => request.session.regenerate((error) => (error ? reject(error) : resolve())));
  Object.assign(request.session, content);
}

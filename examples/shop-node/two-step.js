// The profile page "Two-step verification", and what is done there.

import { Router } from 'express';
import { StateError, UnavailableError } from 'twinlock';
import { elevationRequired } from 'twinlock/express';
import { loggedIn, pendingUser } from './account.js';
import { call, client, explain, notice, page, presented, target, told, twoStepSession } from './prompt.js';

/** Only for sessions that have proved identity lately. */
export const elevated = (options) =>
  elevationRequired({ client, user: ({ user }) => user?.id, session: twoStepSession, ...options });

export const twoStep = Router();

twoStep.get('/two-step', loggedIn, async (request, response) => {
  page(request, response, 'two-step', { state: await client.describeUser({ userId: request.user.id }) });
});

// A new secret, for the first app or another one. Those who must have one before they are let in come here in the
// middle of their login, with their password just given.
twoStep.all('/two-step/set-up', async (request, response, next) => {
  const user = pendingUser(request);
  if (!user) return elevated()(request, response, next);
  if (request.method === 'POST') {
    try {
      await client.elevate(call(request, user, 'elevate', { asserted: 'password' }));
    } catch (error) {
      if (error instanceof StateError) return response.redirect('/login/code');
      throw error;
    }
  }
  next();
});
twoStep.get('/two-step/set-up', (request, response) => page(request, response, 'set-up'));
twoStep.post('/two-step/set-up', (request, response) =>
  showSecret(request, response, pendingUser(request) ?? request.user),
);

async function showSecret(request, response, user, problem) {
  const enrollment = String(request.body.enrollment ?? request.body.ticket);
  let pending;
  try {
    // Of the same ticket comes the same secret: no session holds it, and a wrong code does not change it.
    pending = await client.enroll(call(request, user, 'enroll', { accountName: user.name }, enrollment));
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    problem ??= explain(error);
  }
  const qr = pending && `data:image/svg+xml;base64,${Buffer.from(pending.qrSvg).toString('base64')}`;
  page(request, response, 'set-up', { problem, pending, qr, enrollment, account: user.name });
}

// The first code of the app.
twoStep.get('/two-step/confirm', (request, response) => response.redirect('/two-step/set-up'));
twoStep.post('/two-step/confirm', async (request, response) => {
  const pending = pendingUser(request);
  const user = pending ?? request.user;
  if (!user) return response.redirect('/login');
  let issued;
  try {
    issued = await client.confirmEnrollment(call(request, user, 'confirm', presented(request)));
  } catch (error) {
    if (!(error instanceof StateError)) return showSecret(request, response, user, await told(error, user));
    notice(request, explain(error).sentence);
    return response.redirect('/two-step/set-up');
  }
  if (pending) request.session.pending.passed = true;
  page(request, response, 'recovery-key', { issued, next: pending ? '/login/finish' : '/two-step' });
});

twoStep
  .route('/two-step/new-key')
  .all(elevated())
  .get((request, response) => page(request, response, 'new-key'))
  .post(async (request, response) => {
    const issued = await client.rotateRecoveryKey(call(request, request.user, 'rotate'));
    page(request, response, 'recovery-key', { issued, next: '/two-step' });
  });

// The user says that the new recovery key is stored.
twoStep.post('/two-step/acknowledge', async (request, response) => {
  const user = request.session.pending?.passed ? pendingUser(request) : request.user;
  if (!user) return response.redirect('/login');
  try {
    const recoveryKeyCreateTime = new Date(String(request.body.create_time));
    await client.acknowledgeRecoveryKey({ userId: user.id, recoveryKeyCreateTime });
    notice(request, 'Your recovery key counts as stored.');
  } catch (error) {
    explain(error);
    notice(request, 'This could not be noted. The shop will ask again.');
  }
  response.redirect(target(request));
});

twoStep
  .route('/two-step/turn-off')
  .all(elevated())
  .get((request, response) => page(request, response, 'turn-off'))
  .post(async (request, response) => {
    await client.unenroll(call(request, request.user, 'unenroll'));
    notice(request, 'Two-step verification is off.');
    response.redirect('/two-step');
  });

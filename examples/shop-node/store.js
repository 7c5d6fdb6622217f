// The shop's first page, and something that needs a fresh proof.

import { Router } from 'express';
import { loggedIn } from './account.js';
import { client, explain, notice, page } from './prompt.js';
import { elevated } from './two-step.js';

export const store = Router();

store.get('/', loggedIn, async (request, response) => {
  let remind = false;
  try {
    const state = await client.describeUser({ userId: request.user.id });
    remind = state.enrolled && !state.recoveryKeyAcknowledged;
  } catch (error) {
    explain(error); // The shop is open without Twinlock, too.
  }
  page(request, response, 'home', { remind });
});

store
  .route('/payout')
  .all(elevated({ maxAgeMs: 5 * 60_000 }))
  .get((request, response) => page(request, response, 'payout'))
  .post((request, response) => {
    notice(request, 'The money is on its way.');
    response.redirect('/');
  });

// The administrator's pages.

import { Router } from 'express';
import { loggedIn } from './account.js';
import { call, client, notice, page, presented, told } from './prompt.js';
import { allUsers, userById } from './users.js';

// What the sidecar was started with.
const enforcement = {
  mode: process.env.TWINLOCK_ENFORCEMENT__MODE ?? 'off',
  authorities: (process.env.TWINLOCK_ENFORCEMENT__AUTHORITIES ?? '').split(','),
};

export const administration = Router();

administration.use('/admin', loggedIn, (request, response, next) => {
  if (request.user.authorities.includes('staff')) return next();
  const sentence = 'This page is for administrators.';
  page(request, response.status(403), 'message', { title: 'Not allowed', sentence });
});

administration.get('/admin', async (request, response) => {
  const users = await Promise.all(
    allUsers().map(async ({ id, name, authorities }) => {
      const { enrolled } = await client.describeUser({ userId: id });
      return { id, name, enrolled, must: authorities.some((authority) => enforcement.authorities.includes(authority)) };
    }),
  );
  page(request, response, 'admin', { users, enforcement });
});

// Turns it off for somebody who lost phone and recovery key, on the administrator's own code.
administration
  .route('/admin/reset/:id')
  .all((request, response, next) => {
    request.other = userById(request.params.id);
    next(request.other ? undefined : 'route');
  })
  .get((request, response) => page(request, response, 'reset', { other: request.other }))
  .post(async (request, response) => {
    const { other, user } = request;
    const { totpCode = '' } = presented(request);
    const { requestId, client: from } = call(request, user, `reset ${other.id}`, { totpCode });
    try {
      await client.unenrollUser({ adminUserId: user.id, userId: other.id, totpCode, requestId, client: from });
    } catch (error) {
      return page(request, response, 'reset', { other, problem: await told(error, user) });
    }
    notice(request, `Two-step verification is off for ${other.name}.`);
    response.redirect('/admin');
  });

// The middleware in Express 5 and in Express 4.

import { once } from 'node:events';
import { describe, mock } from 'node:test';
import express5 from 'express';
import express4 from 'express4';
import * as middleware from 'twinlock/express';
import { testSite } from './frameworks.mjs';

const { elevationRequired, errorHandler, secondStep } = middleware;

for (const [name, express] of Object.entries({ express5, express4 })) {
  describe(name, () => testSite((client) => start(express, client), middleware));
}

async function start(express, client) {
  const account = { client, user: (request) => request.get('user'), session: async (request) => request.get('session') };
  const requestId = (request) => request.get('request-id');
  const app = express();
  app.use(express.json());
  app.post('/login/code', secondStep({ ...account, requestId }), (request, response) => {
    const { method, recoveryKey } = request.twinlock.verified;
    response.json({ method, recoveryKey });
  });
  app.post('/payout', elevationRequired(account), (request, response) => {
    response.json({ paid: true, method: request.twinlock.elevation.method });
  });
  app.post('/fresh', elevationRequired({ ...account, maxAgeMs: 3000 }), (request, response) => response.json({}));
  app.post('/broken', () => {
    throw new Error('broken');
  });
  const logged = [];
  const console = mock.method(globalThis.console, 'error', ({ reason }) => logged.push(reason));
  const forms = express.Router();
  forms.post('/form', secondStep(account), (request, response) => response.send('in'));
  const onRefused = async ({ status, reason, message }, request, response) => {
    response.type('html').send(`<p title="${status} ${reason}">${message}</p>`);
  };
  forms.post('/broken-form', secondStep(account));
  forms.use('/form', errorHandler({ onRefused, log: ({ reason }, request) => logged.push(`${request.originalUrl}: ${reason}`) }));
  forms.use('/broken-form', errorHandler({ onRefused: async () => Promise.reject(new Error('broken')) }));
  app.use(forms);
  app.use(errorHandler());
  app.use((error, request, response, next) => response.status(error.message === 'broken' ? 418 : 500).end());
  const listener = app.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    address: `http://127.0.0.1:${listener.address().port}`,
    logged,
    close() {
      console.mock.restore();
      return new Promise((resolve) => listener.close(resolve));
    },
  };
}

// The hooks in Fastify 5 and in Fastify 4.

import { describe } from 'node:test';
import fastify5 from 'fastify';
import fastify4 from 'fastify4';
import * as middleware from 'twinlock/fastify';
import { testSite } from './frameworks.mjs';

const { elevationRequired, errorHandler, secondStep } = middleware;

for (const [name, fastify] of Object.entries({ fastify5, fastify4 })) {
  describe(name, () => testSite((client) => start(fastify, client), middleware));
}

async function start(fastify, client) {
  const account = { client, user: (request) => request.headers.user, session: async (request) => request.headers.session };
  const requestId = (request) => request.headers['request-id'];
  const logged = [];
  const stream = { write: (line) => logged.push(JSON.parse(line).err.reason) };
  const app = fastify({ logger: { level: 'error', stream } });
  app.setErrorHandler((error, request, reply) => reply.code(error.message === 'broken' ? 418 : 500).send());
  app.register(async (site) => {
    site.setErrorHandler(errorHandler());
    site.post('/login/code', { preHandler: secondStep({ ...account, requestId }) }, async (request) => {
      const { method, recoveryKey } = request.twinlock.verified;
      return { method, recoveryKey };
    });
    site.post('/payout', { preHandler: elevationRequired(account) }, async (request) => {
      return { paid: true, method: request.twinlock.elevation.method };
    });
    site.post('/fresh', { preHandler: elevationRequired({ ...account, maxAgeMs: 3000 }) }, async () => ({}));
    site.post('/broken', async () => {
      throw new Error('broken');
    });
  });
  app.register(async (forms) => {
    const onRefused = async ({ status, reason, message }, request, reply) => {
      reply.type('text/html');
      return `<p title="${status} ${reason}">${message}</p>`;
    };
    forms.setErrorHandler(errorHandler({ onRefused, log: ({ reason }, request) => logged.push(`${request.url}: ${reason}`) }));
    forms.post('/form', { preHandler: secondStep(account) }, async () => 'in');
  });
  app.register(async (forms) => {
    forms.setErrorHandler(errorHandler({ onRefused: async () => Promise.reject(new Error('broken')) }));
    forms.post('/broken-form', { preHandler: secondStep(account) }, async () => 'in');
  });
  const address = await app.listen({ port: 0, host: '127.0.0.1' });
  return { address, logged, close: () => app.close() };
}

// What the types promise, and what they refuse. Checked by `tsc`, run by nobody.

import { expectTypeOf } from 'expect-type';
import { BlockedError, Client, ProofError, TwinlockError, recovery, totp } from 'twinlock';
import type { Elevation, Event, Reason, VerifyRequest } from 'twinlock';
import { elevationRequired, errorHandler, secondStep } from 'twinlock/express';
import * as hooks from 'twinlock/fastify';
import express from 'express';
import fastify from 'fastify';

const client = new Client({ address: 'unix:/run/twinlock.sock', token: 't', timeoutMs: 500, tls: { ca: Buffer.from('') } });
const user = { userId: 'alice', sessionId: 'web-1' };

// Exactly one proof.
client.verify({ userId: 'alice', totpCode: '123456' });
client.verify({ ...user, recoveryKey: 'K' }, { signal: AbortSignal.timeout(5), timeoutMs: 100 });
client.elevate({ ...user, password: 'p', passwordHash: 'h' });
client.elevate({ ...user, asserted: 'saml' });
// @ts-expect-error no proof
client.verify(user);
// @ts-expect-error two proofs
client.verify({ ...user, totpCode: '123456', recoveryKey: 'K' });
// @ts-expect-error a login is not verified by a password
client.verify({ ...user, password: 'p' });
// @ts-expect-error a misspelled field
client.checkElevation({ ...user, maxAge: 5 });
// @ts-expect-error a session, or all
client.dropElevation({ userId: 'alice' });
// @ts-expect-error no such channel
client.evaluateLogin({ userId: 'alice', channel: 'form' });
expectTypeOf<VerifyRequest>().toExtend<{ userId: string }>();

// What may be left out may be undefined, too.
declare const maybe: string | undefined;
client.verify({ ...user, sessionId: maybe, requestId: maybe, totpCode: '123456' }, { signal: undefined, timeoutMs: undefined });
new Client({ address: maybe, token: maybe, tls: undefined });
totp.verify('s', 'c', { lastStep: null, window: undefined });

// What the method tells.
const verified = await client.verify({ userId: 'alice', totpCode: '123456' });
if (verified.method === 'RECOVERY_KEY') {
  expectTypeOf(verified.recoveryKey).toEqualTypeOf<string>();
  await client.acknowledgeRecoveryKey({ userId: 'alice', recoveryKeyCreateTime: verified.recoveryKeyCreateTime });
} else {
  expectTypeOf(verified.recoveryKey).toEqualTypeOf<undefined>();
}
expectTypeOf(verified.elevation).toEqualTypeOf<Elevation | undefined>();
expectTypeOf(verified.verifyTime).toEqualTypeOf<Date>();
const elevated = await client.elevate({ ...user, totpCode: '123456' });
if (elevated.recoveryKey !== undefined) {
  expectTypeOf(elevated.recoveryKeyCreateTime).toEqualTypeOf<Date>();
}
const login = await client.evaluateLogin({ userId: 'alice', channel: 'FORM', authorities: ['admin'] as const });
expectTypeOf(login.decision).toEqualTypeOf<'ALLOW' | 'VERIFY' | 'ENROLL' | 'DENY'>();
const otpauthUri = 'otpauth://totp/a';
expectTypeOf(await client.importEnrollment({ userId: 'bob', otpauthUri, issueRecoveryKey: true })).toHaveProperty(
  'recoveryKey',
);
expectTypeOf(await client.importEnrollment({ userId: 'bob', otpauthUri })).extract<undefined>().toBeUndefined();
expectTypeOf(await client.unenroll(user)).toEqualTypeOf<void>();
for await (const event of client.watchEvents()) {
  expectTypeOf(event).toEqualTypeOf<Event>();
}
{
  await using events = client.watchEvents({ afterEventId: undefined });
  expectTypeOf(events.missedEvents).toEqualTypeOf<boolean | undefined>();
}
{
  await using closed = client;
  expectTypeOf(closed.address).toEqualTypeOf<string>();
}

// Errors.
try {
  totp.verify('s', 'c');
} catch (error) {
  if (error instanceof BlockedError || error instanceof ProofError) {
    expectTypeOf(error.retryAfterMs).toEqualTypeOf<number | undefined>();
    expectTypeOf(error.reason).toEqualTypeOf<Reason>();
  }
  expectTypeOf(ProofError.prototype).toExtend<TwinlockError & Error>();
}

// Local functions.
expectTypeOf(totp.verify('s', 'c', { lastStep: 1, window: 2, digits: 8, algorithm: 'SHA256' })).toEqualTypeOf<number>();
expectTypeOf(recovery.verify('k', new Uint8Array(32), { userId: 'alice' })).toEqualTypeOf<void>();
// @ts-expect-error a key belongs to somebody
recovery.hash('k', {});
// @ts-expect-error codes have 6 to 8 digits
totp.generate('s', { digits: 9 });

// Frameworks.
const account = { client, user: () => 'alice', session: async () => 'web-1' };
const app = express();
app.post('/code', secondStep(account), (request, response) => {
  expectTypeOf(request.twinlock?.verified?.method).toExtend<string | undefined>();
  response.end();
});
app.use('/admin', elevationRequired({ ...account, maxAgeMs: 1000 }));
app.use(errorHandler());
app.use(
  errorHandler({
    onRefused: ({ status, reason, message, retryAfterMs }, request, response) => {
      expectTypeOf(retryAfterMs).toEqualTypeOf<number | undefined>();
      response.render('code', { status, reason, message, path: request.path });
    },
  }),
);
// @ts-expect-error there is no such option
app.use(errorHandler({ onRefuse: () => {} }));
app.use(errorHandler({ log: (error, request) => console.error(request.path, error.reason) }));
app.post<{ id: string }>('/:id', secondStep(account), (request, response) => {
  expectTypeOf(request.params).toEqualTypeOf<{ id: string }>();
  response.end();
});
const server = fastify();
server.setErrorHandler(hooks.errorHandler());
server.setErrorHandler(hooks.errorHandler({ onRefused: async ({ message }, request, reply) => reply.send(message) }));
server.post('/code', { preHandler: hooks.secondStep(account) }, async (request) => request.twinlock?.verified?.verifyTime);
server.post<{ Body: { note: string } }>('/note', { preHandler: hooks.secondStep(account) }, async ({ body }) => body.note);
const secure = fastify({ http2: true });
secure.setErrorHandler(hooks.errorHandler({ log: (error, request) => request.log.warn(error) }));
secure.post('/code', { preHandler: [hooks.secondStep(account), hooks.elevationRequired(account)] }, async () => 1);
// @ts-expect-error an elevation belongs to a session
server.post('/admin', { preHandler: hooks.elevationRequired({ client, user: () => 'alice' }) }, async () => 1);

// A user with an authenticator app.

import { setTimeout as sleep } from 'node:timers/promises';
import { Authenticator } from './authenticator.mjs';

/** Enrolls a user, whose app is `app` and whose recovery key is `recoveryKey`. Their session `setup` is elevated. */
export async function enrolled(client, userId) {
  await client.elevate({ userId, sessionId: 'setup', asserted: 'test' });
  const { secret } = await client.enroll({ userId, sessionId: 'setup' });
  const app = new Authenticator({ secret });
  await calm(app);
  // The code of the step before, so that the present one is still good.
  const totpCode = app.code(app.step() - 1);
  const { recoveryKey, recoveryKeyCreateTime } = await client.confirmEnrollment({ userId, sessionId: 'setup', totpCode });
  return { userId, app, recoveryKey, recoveryKeyCreateTime };
}

/** Waits until the present step has some seconds to go, so that a code does not lapse on its way. */
export async function calm({ period }, least = 5) {
  const left = period - ((Date.now() / 1000) % period);
  if (left < least) {
    await sleep(left * 1000 + 20);
  }
}

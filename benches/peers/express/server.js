// A second step as a team would write it itself: Express, otplib, ioredis and rate-limiter-flexible.
//
//   REDIS_URL=redis://127.0.0.1:6379 node server.js PORT
import { NodeCryptoPlugin } from '@otplib/plugin-crypto-node';
import express from 'express';
import { Redis } from 'ioredis';
import { verify } from 'otplib';
import { RateLimiterRedis } from 'rate-limiter-flexible';

const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true });
// Of two requests with the same code at the same time, one keeps the step.
redis.defineCommand('keepStep', {
  numberOfKeys: 1,
  lua: `
    if tonumber(ARGV[1]) <= tonumber(redis.call('HGET', KEYS[1], 'last_step')) then return 0 end
    redis.call('HSET', KEYS[1], 'last_step', ARGV[1])
    return 1`,
});
const failures = new RateLimiterRedis({ storeClient: redis, keyPrefix: 'failures', points: 10, duration: 3600 });
const crypto = new NodeCryptoPlugin();

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(express.json());

app.post('/v1/users/:user/verify', async (request, response) => {
  const { user } = request.params;
  const token = request.body?.totpCode;
  if (typeof token !== 'string' || !/^[0-9]{6}$/.test(token)) return refuse(response, 400, 'MALFORMED_CODE');

  const key = `totp:${user}`;
  const [failed, [secret, lastStep]] = await Promise.all([
    failures.get(user),
    redis.hmget(key, 'secret', 'last_step'),
  ]);
  if (!secret) return refuse(response, 400, 'NOT_ENROLLED');
  if (failed && failed.remainingPoints === 0) return refuse(response, 429, 'BACKOFF');

  const { valid, timeStep } = await verify({
    crypto,
    secret,
    token,
    epochTolerance: 30,
    afterTimeStep: Number(lastStep),
  });
  if (!valid || !(await redis.keepStep(key, timeStep))) {
    await failures.consume(user).catch((error) => {
      // Anything else says that there were too many, as the next request is told.
      if (error instanceof Error) throw error;
    });
    return refuse(response, 401, 'INVALID_CODE');
  }
  if (failed) await failures.delete(user);
  response.json({ method: 'TOTP' });
});

function refuse(response, status, reason) {
  response.status(status).json({ reason });
}

const server = app.listen(Number(process.argv[2]), '127.0.0.1');
// Longer than whoever calls keeps a connection that nothing is sent on.
server.keepAliveTimeout = 75_000;

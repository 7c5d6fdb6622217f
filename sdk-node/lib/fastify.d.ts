/**
 * Hooks for Fastify 4 and 5.
 *
 * @example
 * ```js
 * const account = { client, user: (request) => request.session.userId, session: (request) => request.session.sessionId };
 * fastify.setErrorHandler(errorHandler());
 * fastify.post('/login/code', { preHandler: secondStep(account) }, async () => ({ loggedIn: true }));
 * fastify.post('/payout', { preHandler: elevationRequired({ ...account, maxAgeMs: 60_000 }) }, payOut);
 * ```
 *
 * @packageDocumentation
 */

import type {
  FastifyError,
  FastifyReply,
  FastifyRequest,
  FastifySchema,
  FastifyTypeProviderDefault,
  RouteGenericInterface,
} from 'fastify';
import type { ElevationRequiredOptions, ErrorHandlerOptions, Passed, Refusal, SecondStepOptions } from './http.js';

export type { ElevationRequiredOptions, ErrorHandlerOptions, Passed, Refusal, SecondStepOptions };

declare module 'fastify' {
  interface FastifyRequest {
    /** Of `twinlock/fastify`. */
    twinlock?: Passed;
  }
}

// Over any version of HTTP, and with any logger.
type AnyRequest = FastifyRequest<RouteGenericInterface, any, any, FastifySchema, FastifyTypeProviderDefault, unknown, any>;
type AnyReply = FastifyReply<any, any, any, any, any, any, any, any>;

/** For `preHandler`: goes on with a verified proof, in `request.twinlock.verified`; else throws the error. */
export function secondStep(options: SecondStepOptions<AnyRequest>): (request: AnyRequest) => Promise<void>;

/** For `preHandler`: goes on with an elevated session, in `request.twinlock.elevation`; else throws the error. */
export function elevationRequired(
  options: ElevationRequiredOptions<AnyRequest>,
): (request: AnyRequest) => Promise<void>;

/**
 * For `setErrorHandler`: answers a `TwinlockError` as JSON, `{ reason, message, retryAfterMs }`, or with what `onRefused`
 * sends or returns, and leaves other errors to the handler around it. The statuses are those of `twinlock/express`.
 */
export function errorHandler(
  options?: ErrorHandlerOptions<AnyRequest, AnyReply>,
): (error: FastifyError, request: AnyRequest, reply: AnyReply) => unknown;

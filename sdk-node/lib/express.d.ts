/**
 * Middleware for Express 4 and 5. Express 4 and 5 alike need the body parsed before it.
 *
 * @example
 * ```js
 * const account = { client, user: (request) => request.session.userId, session: (request) => request.sessionID };
 * app.post('/login/code', secondStep(account), (request, response) => response.json({ loggedIn: true }));
 * app.post('/payout', elevationRequired({ ...account, maxAgeMs: 60_000 }), payOut);
 * app.use(errorHandler());
 * ```
 *
 * @packageDocumentation
 */

import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import type { ElevationRequiredOptions, ErrorHandlerOptions, Passed, Refusal, SecondStepOptions } from './http.js';

export type { ElevationRequiredOptions, ErrorHandlerOptions, Passed, Refusal, SecondStepOptions };

declare global {
  namespace Express {
    interface Request {
      /** Of `twinlock/express`. */
      twinlock?: Passed;
    }
  }
}

/** Goes on with a verified proof, in `request.twinlock.verified`; else with the error. */
export function secondStep(options: SecondStepOptions<Request>): RequestHandler;

/** Goes on with an elevated session, in `request.twinlock.elevation`; else with the error. */
export function elevationRequired(options: ElevationRequiredOptions<Request>): RequestHandler;

/**
 * Answers a `TwinlockError` as JSON, `{ reason, message, retryAfterMs }`, or as `onRefused` does, and leaves other errors
 * to the next handler: 400 or 401 for a proof, 429 with `Retry-After` during a wait, 403 where elevation is required, 409
 * for a state, 503 with no verdict, 500 without particulars for what is not the browser's fault.
 *
 * @example
 * ```js
 * const onRefused = ({ message }, request, response) => response.render('code', { message });
 * app.use(errorHandler({ onRefused }));
 * ```
 */
export function errorHandler(options?: ErrorHandlerOptions<Request, Response>): ErrorRequestHandler;

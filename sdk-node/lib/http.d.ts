import type { Client, Elevation, RecoveryKey, TotpCode, TwinlockError, VerifyResponse } from './index.js';

type Awaitable<T> = T | Promise<T>;

/** How a middleware finds out what to ask. A visitor without an id is refused, as one without elevation is. */
export interface SecondStepOptions<Request> {
  client: Client;
  /** The stable id of the user who has passed the first step. Take it from your session, never from the form. */
  user: (request: Request) => Awaitable<string | null | undefined>;
  /** The id of the session that logs in, which the proof then elevates; none where this is left out. */
  session?: ((request: Request) => Awaitable<string | null | undefined>) | undefined;
  /**
   * The same id for the same form with the same content, and for nothing else; a new one for each request where this is
   * left out. With it, a form that is sent twice, or again because its answer was lost, gets the same answer, a new
   * recovery key included. A digest over the session's id, a random field of the form and what was typed is one.
   */
  requestId?: ((request: Request) => Awaitable<string | null | undefined>) | undefined;
  /** What the user presents; `totpCode` or `recoveryKey` of the parsed body where this is left out. */
  proof?: ((request: Request) => Awaitable<TotpCode | RecoveryKey>) | undefined;
}

/** How a middleware finds out whose elevation to ask for. */
export interface ElevationRequiredOptions<Request> {
  client: Client;
  /** The stable id of the user who is logged in. */
  user: (request: Request) => Awaitable<string | null | undefined>;
  /** The id of the login session. */
  session: (request: Request) => Awaitable<string | null | undefined>;
  /** How old the proof may be, in milliseconds, where that is stricter than its own lifetime. */
  maxAgeMs?: number | undefined;
}

/** What the middlewares leave on a request. */
export interface Passed {
  /** Of `secondStep`: show `recoveryKey`, if there is one, before anything else. */
  verified?: VerifyResponse;
  /** Of `elevationRequired`. */
  elevation?: Elevation;
}

/** What a browser may be told of an error: nothing of what is not its fault. */
export interface Refusal {
  /** The status of the answer: 400, 401, 403, 409, 429, 500 or 503. */
  status: number;
  /** Why, such as `INVALID_CODE` or `BACKOFF`. */
  reason: string;
  /** A sentence for the user. */
  message: string;
  /** After how many milliseconds another attempt makes sense. */
  retryAfterMs?: number;
}

/** See `errorHandler`. */
export interface ErrorHandlerOptions<Request, Response> {
  /**
   * Gives your own answer, a page for instance. Its status, `Cache-Control` and `Retry-After` are set already; send the
   * rest. JSON is sent where this is left out.
   */
  onRefused?: ((refusal: Refusal, request: Request, response: Response) => unknown) | undefined;
  /**
   * Logs what is answered with 500 or 503, of which the browser learns next to nothing. Where this is left out,
   * `console.error` of Express and `request.log.error` of Fastify.
   */
  log?: ((error: TwinlockError, request: Request) => void) | undefined;
}

/** Why a call failed. A server of a later release may have others. */
export type Reason =
  | 'INVALID_CODE'
  | 'CODE_ALREADY_USED'
  | 'MALFORMED_CODE'
  | 'BACKOFF'
  | 'LOCKED'
  | 'ELEVATION_REQUIRED'
  | 'NOT_ENROLLED'
  | 'NO_PENDING_ENROLLMENT'
  | 'SECOND_FACTOR_REQUIRED'
  | 'NO_PASSWORD'
  | 'ASSERTION_NOT_ALLOWED'
  | 'ADMIN_NOT_ENROLLED'
  | 'SELF_UNENROLL'
  | 'USER_NOT_FOUND'
  | 'ALREADY_ENROLLED'
  | 'INVALID_REQUEST'
  | 'REQUEST_ID_REUSED'
  | 'CALLER_UNAUTHENTICATED'
  | 'CALLER_FORBIDDEN'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'OVERLOADED'
  | 'STORE_UNAVAILABLE'
  | 'STORE_INCOMPLETE'
  | 'SECRET_UNREADABLE'
  | (string & {});

/** What an error knows beside its sentence. */
export interface ErrorDetails {
  reason: Reason;
  code: string;
  retryAfterMs?: number;
  fields?: readonly string[];
}

/** Every failure of this package. Its message is a plain sentence that says what to do, and holds no secret. */
export class TwinlockError extends Error {
  constructor(message: string, details: ErrorDetails);
  /** Why. Branch on the class or on this. */
  readonly reason: Reason;
  /** The name of the gRPC status code, such as `UNAUTHENTICATED`. */
  readonly code: string;
  /** After how long another attempt makes sense, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The fields that are wrong, as the protobuf files write them (`totp_code`). Mostly empty. */
  readonly fields: readonly string[];
}

/**
 * What the user presented is not accepted: `INVALID_CODE`, `CODE_ALREADY_USED`, `MALFORMED_CODE`. Ask again, after
 * `retryAfterMs` where it is set.
 */
export class ProofError extends TwinlockError {}

/**
 * Nothing was looked at, because of failures before: `BACKOFF`, `LOCKED`. Wait for `retryAfterMs`; without it, only an
 * administrator helps.
 */
export class BlockedError extends TwinlockError {}

/** The session has no recent proof of identity. Ask for a code and call `elevate`. */
export class ElevationRequiredError extends TwinlockError {}

/** The user or the administrator is not in a state that allows the call. Branch on `reason`. */
export class StateError extends TwinlockError {}

/** An argument is not of its form, and never will be: `fields` names it. Correct the program. */
export class RequestError extends TwinlockError {}

/** The server does not let this backend do it. Correct the token or its roles. */
export class CallerError extends TwinlockError {}

/** There was no verdict. Refuse for now; the same call with the same request id may succeed later. */
export class UnavailableError extends TwinlockError {}

/** Something is broken, and only an operator can mend it. Refuse, and raise an alarm. */
export class InternalError extends TwinlockError {}

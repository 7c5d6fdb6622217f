/// <reference types="node" />

/**
 * Two-step verification: a {@link Client} of a Twinlock server, and the functions that need none, {@link totp} and
 * {@link recovery}.
 *
 * Times are `Date`s. Durations are numbers of milliseconds, and their names end in `Ms`. What is not accepted is an
 * error that is thrown, a {@link TwinlockError}; nothing returns `false` for a proof.
 *
 * @packageDocumentation
 */

import type {
  AcknowledgeRecoveryKeyRequest,
  AdministratorRequest,
  CheckElevationRequest,
  ConfirmEnrollmentRequest,
  ConfirmEnrollmentResponse,
  DescribeUserResponse,
  DropElevationRequest,
  ElevateRequest,
  ElevateResponse,
  Elevation,
  EnrollRequest,
  EnrollResponse,
  EvaluateLoginRequest,
  EvaluateLoginResponse,
  Event,
  ImportEnrollmentRequest,
  OperatorRequest,
  RecoveryKeyResponse,
  SessionRequest,
  SetPasswordRequest,
  UserRequest,
  VerifyRequest,
  VerifyResponse,
  WatchEventsRequest,
} from './messages.js';

export * as totp from './totp.js';
export * as recovery from './recovery.js';
export { Backoff, type BackoffOptions } from './backoff.js';
export * from './errors.js';
export * from './messages.js';

/** How to reach a server, and as whom. */
export interface ClientOptions {
  /**
   * `http://127.0.0.1:6238`, `127.0.0.1:6238` for the same, `https://host:port` for TLS, or `unix:/path/to/socket`.
   * Where it is left out, the environment variable `TWINLOCK_ADDRESS`, else the first of these.
   */
  address?: string | undefined;
  /**
   * The caller's bearer token, where the server has callers configured. Where it is left out, the environment variable
   * `TWINLOCK_TOKEN`, if any.
   */
  token?: string | undefined;
  /**
   * The deadline of a whole call, its repeats included, in milliseconds: 5,000 by default, at most a day. A watch is
   * bound by it only until it opens.
   */
  timeoutMs?: number | undefined;
  /** For `https` addresses alone. */
  tls?: TlsOptions | undefined;
}

/** Certificates, as PEM: a text or its bytes. */
export interface TlsOptions {
  /** Who may vouch for the server; the operating system's authorities where it is left out. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate, where the server asks for one. Together with `key`. */
  cert?: string | Uint8Array | undefined;
  /** The private key of `cert`. */
  key?: string | Uint8Array | undefined;
}

/** What every call takes beside its request. */
export interface CallOptions {
  /**
   * Ends the call: its promise is rejected with the signal's reason. The server may have done what it was asked for;
   * call again with the same `requestId` to get the answer.
   */
  signal?: AbortSignal | undefined;
  /** Another deadline for this call alone, in milliseconds. */
  timeoutMs?: number | undefined;
}

/**
 * What happens, as it happens. It ends when the loop that reads it does, when its signal says so, and with the client.
 */
export interface EventWatch extends AsyncIterableIterator<Event>, AsyncDisposable {
  /** Whether events after `afterEventId` are no longer kept. Known after the first event. */
  readonly missedEvents: boolean | undefined;
  /** Ends it. */
  return(): Promise<IteratorResult<Event, undefined>>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A client of a server. One is enough for a whole process; it connects when it is first needed, and again after a
 * connection broke off. An idle one does not keep the process alive.
 *
 * Calls whose answer was lost are repeated within their deadline, at most twice, and only where that is safe: reads, and
 * calls with a request id.
 *
 * Every method rejects with a {@link TwinlockError}, or with the reason of the signal that ended it.
 *
 * @example
 * ```js
 * const client = new Client({ address: 'https://twinlock.internal:6238', token });
 * try {
 *   const { recoveryKey } = await client.verify({ userId, sessionId, totpCode });
 * } catch (error) {
 *   if (error instanceof ProofError) askAgain(error.message, error.retryAfterMs);
 *   else if (error instanceof BlockedError) wait(error.retryAfterMs);
 *   else throw error;
 * }
 * ```
 */
export class Client implements AsyncDisposable {
  /**
   * Prepares a client; nothing is connected yet.
   *
   * @throws {RequestError} where an option is unknown or not of its form.
   */
  constructor(options?: ClientOptions);

  /** The address of the server, as it was given. */
  readonly address: string;

  /**
   * Starts an enrollment, which {@link confirmEnrollment} completes from the same session. An authenticator that is
   * active stays so until then.
   *
   * @throws {ElevationRequiredError} Elevate the session first.
   *
   * @example
   * ```js
   * await client.elevate({ userId, sessionId, asserted: 'password' });
   * const { qrSvg, secret } = await client.enroll({ userId, sessionId, accountName: 'alice@example.com' });
   * ```
   */
  enroll(request: EnrollRequest, options?: CallOptions): Promise<EnrollResponse>;

  /**
   * Proves that the app holds the secret, and turns two-step verification on.
   *
   * @throws {ProofError} The code is not accepted.
   * @throws {BlockedError} Nothing was looked at: too many failures before.
   * @throws {StateError} `NO_PENDING_ENROLLMENT`: begin again.
   *
   * @example
   * ```js
   * const { recoveryKey, recoveryKeyCreateTime } = await client.confirmEnrollment({ userId, sessionId, totpCode });
   * // Show the key. When the user says that it is stored:
   * await client.acknowledgeRecoveryKey({ userId, recoveryKeyCreateTime });
   * ```
   */
  confirmEnrollment(request: ConfirmEnrollmentRequest, options?: CallOptions): Promise<ConfirmEnrollmentResponse>;

  /**
   * Turns two-step verification off.
   *
   * @throws {ElevationRequiredError} Elevate the session first, by code or recovery key.
   */
  unenroll(request: SessionRequest, options?: CallOptions): Promise<void>;

  /** What is known of a user. Somebody unknown is an empty answer. */
  describeUser(request: UserRequest, options?: CallOptions): Promise<DescribeUserResponse>;

  /**
   * Decides what a login that has passed its first step still owes.
   *
   * @example
   * ```js
   * const { decision } = await client.evaluateLogin({ userId, channel: 'FORM', authorities: ['system-admin'] });
   * if (decision === 'ALLOW') logIn();
   * else if (decision === 'VERIFY') askForCode();
   * else if (decision === 'ENROLL') setUpFirst();
   * else refuse();
   * ```
   */
  evaluateLogin(request: EvaluateLoginRequest, options?: CallOptions): Promise<EvaluateLoginResponse>;

  /**
   * Checks the second step of a login. A recovery key is used up by it, and the answer has the next one.
   *
   * @throws {ProofError} `INVALID_CODE`, `CODE_ALREADY_USED` (with `retryAfterMs`) or `MALFORMED_CODE`.
   * @throws {BlockedError} Nothing was looked at: too many failures before.
   * @throws {StateError} `NOT_ENROLLED`: start the login again.
   */
  verify(request: VerifyRequest, options?: CallOptions): Promise<VerifyResponse>;

  /**
   * Proves identity again, so that one session may do sensitive things for a while.
   *
   * @throws {ProofError} What was presented is not accepted.
   * @throws {BlockedError} Nothing was looked at: too many failures before.
   * @throws {StateError} `SECOND_FACTOR_REQUIRED`: the user is enrolled, so ask for a code. `NO_PASSWORD`,
   * `ASSERTION_NOT_ALLOWED`, `NOT_ENROLLED`: this proof cannot be given.
   *
   * @example
   * ```js
   * const { elevation, recoveryKey } = await client.elevate({ userId, sessionId, totpCode });
   * ```
   */
  elevate(request: ElevateRequest, options?: CallOptions): Promise<ElevateResponse>;

  /**
   * Whether a session is elevated now, and by what.
   *
   * @throws {ElevationRequiredError} It is not.
   *
   * @example
   * ```js
   * await client.checkElevation({ userId, sessionId, maxAgeMs: 60_000 }); // throws, or go on
   * ```
   */
  checkElevation(request: CheckElevationRequest, options?: CallOptions): Promise<Elevation>;

  /** Ends a session's elevation, at logout for instance, or those of all. It is never repeated by the client. */
  dropElevation(request: DropElevationRequest, options?: CallOptions): Promise<void>;

  /**
   * Replaces the recovery key.
   *
   * @throws {ElevationRequiredError} Elevate the session first, by code or recovery key.
   */
  rotateRecoveryKey(request: SessionRequest, options?: CallOptions): Promise<RecoveryKeyResponse>;

  /** Records that the user has said that the key is stored safely. It is never repeated by the client. */
  acknowledgeRecoveryKey(request: AcknowledgeRecoveryKeyRequest, options?: CallOptions): Promise<void>;

  /**
   * Stores a password to elevate with before enrollment. It is never repeated by the client.
   *
   * @throws {RequestError} where the verifier cannot be read, or would cost too much to check.
   */
  setPassword(request: SetPasswordRequest, options?: CallOptions): Promise<void>;

  /** Forgets it. It is never repeated by the client. */
  clearPassword(request: UserRequest, options?: CallOptions): Promise<void>;

  /**
   * Turns two-step verification off for another user, who lost both the app and the recovery key.
   *
   * @throws {ProofError} The administrator's code is not accepted.
   * @throws {BlockedError} Nothing was looked at: too many failures of the administrator before.
   * @throws {StateError} `SELF_UNENROLL`, `ADMIN_NOT_ENROLLED`, `USER_NOT_FOUND` or `NOT_ENROLLED`.
   * @throws {CallerError} The caller may not, or `admin.users` does not list the administrator.
   *
   * @example
   * ```js
   * await client.unenrollUser({ adminUserId: 'desk', totpCode, userId: 'alice' });
   * ```
   */
  unenrollUser(request: AdministratorRequest, options?: CallOptions): Promise<void>;

  /**
   * Ends a user's wait or lock, with the same proof.
   *
   * @throws {ProofError} The administrator's code is not accepted.
   * @throws {BlockedError} Nothing was looked at: too many failures of the administrator before.
   * @throws {StateError} `ADMIN_NOT_ENROLLED` or `USER_NOT_FOUND`.
   */
  clearBackoff(request: AdministratorRequest, options?: CallOptions): Promise<void>;

  /**
   * Takes over an authenticator that another system enrolled. A recovery key is in the answer where one was asked for.
   *
   * @throws {StateError} `ALREADY_ENROLLED`.
   * @throws {RequestError} where the URI is none, or says what is not supported.
   *
   * @example
   * ```js
   * const { recoveryKey } = await client.importEnrollment({ userId, otpauthUri, issueRecoveryKey: true });
   * ```
   */
  importEnrollment(
    request: ImportEnrollmentRequest & { issueRecoveryKey: true },
    options?: CallOptions,
  ): Promise<RecoveryKeyResponse>;
  importEnrollment(request: ImportEnrollmentRequest, options?: CallOptions): Promise<RecoveryKeyResponse | undefined>;

  /**
   * What happens to the users of the caller's namespace. The call is sent when the first event is asked for. It ends
   * with an {@link UnavailableError} where it was read too slowly (`RESOURCE_EXHAUSTED`) and where the server stops:
   * then watch again after the last `eventId`.
   *
   * @example
   * ```js
   * for await (const event of client.watchEvents({ afterEventId })) {
   *   console.log(event.eventTime, event.type, event.userId);
   * }
   * ```
   */
  watchEvents(request?: WatchEventsRequest, options?: CallOptions): EventWatch;

  /** Forgets a user whom the product has deleted, so that a reused id inherits nothing. Needs the role `operator`. */
  eraseUser(request: OperatorRequest, options?: CallOptions): Promise<void>;

  /**
   * Unenrolls a user without an administrator's proof, and says why. Needs the role `operator`.
   *
   * @throws {StateError} `USER_NOT_FOUND` or `NOT_ENROLLED`.
   * @throws {RequestError} where `why` is blank.
   */
  resetUser(request: OperatorRequest & { why: string }, options?: CallOptions): Promise<void>;

  /**
   * Whether the server says that a service can be used now: all of it, or `twinlock.v1.TwoStepService` for instance
   * (gRPC health checking). It is asked once.
   */
  checkHealth(request?: { service?: string | undefined }, options?: CallOptions): Promise<boolean>;

  /** Refuses new calls, ends the watches, and waits for the calls that are under way. Then the connection is closed. */
  close(): Promise<void>;

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

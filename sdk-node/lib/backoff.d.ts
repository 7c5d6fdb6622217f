/** See {@link Backoff}. */
export interface BackoffOptions {
  /** How many failures cost nothing, 0 to 10; 1 by default. */
  toleratedFailures?: number | undefined;
  /** The wait after the first failure beyond those, in milliseconds: 1,000 by default. */
  initialMs?: number | undefined;
  /** The longest wait, up to 30 days: 3,600,000 by default, an hour. */
  maximumMs?: number | undefined;
  /** The number of failures that locks; never by default. */
  hardLimit?: number | undefined;
}

/**
 * The wait after consecutive failures, as the server has it, for a product that counts by itself: 0, 1, 2, 4 … seconds
 * up to an hour.
 *
 * @example
 * ```js
 * const backoff = new Backoff();
 * user.failures = backoff.check(user.failures, user.lastFailure);
 * // Now look at the code, and count before you answer.
 * ```
 */
export class Backoff {
  /** @throws {RequestError} where an option is beyond its limits. */
  constructor(options?: BackoffOptions);

  /** What failure number `failures` costs, in milliseconds. */
  waitMs(failures: number): number;

  /**
   * Whether an attempt may be looked at, now or at another time. Gives how many of the failures still count: they are
   * forgotten a day after their wait has ended, or later.
   *
   * @param lastFailure When the last of them was; nothing where there are none.
   * @throws {BlockedError} `BACKOFF` with `retryAfterMs`, or `LOCKED`.
   */
  check(failures: number, lastFailure?: Date | null, options?: { at?: Date | undefined }): number;
}

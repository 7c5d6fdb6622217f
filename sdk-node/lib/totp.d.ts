/** Codes of authenticator apps (RFC 6238) in this process, without a server. */

/** What an authenticator app must know beside the secret. The defaults are what every app supports. */
export interface TotpParameters {
  /** `SHA1` by default. */
  algorithm?: 'SHA1' | 'SHA256' | 'SHA512' | undefined;
  /** 6 by default. */
  digits?: 6 | 7 | 8 | undefined;
  /** The length of a step in milliseconds, whole seconds up to a day: 30,000 by default. */
  periodMs?: number | undefined;
}

/** A new secret of 160 random bits, in base32. */
export function generateSecret(): string;

/**
 * The code of the step that `at` lies in; now by default.
 *
 * @param secret Base32 of 80 to 1,024 bits, in either case, with or without padding.
 * @throws {RequestError} where the secret or an option is not of its form.
 */
export function generate(secret: string, options?: { at?: Date | undefined } & TotpParameters): string;

/** See {@link verify}. */
export interface VerifyOptions extends TotpParameters {
  /** The step that the user's last accepted code has used up: that one and those before it are refused. */
  lastStep?: number | null | undefined;
  /** The time to check for; now by default. */
  at?: Date | undefined;
  /** How many steps before and after the current one are accepted, too; 1 by default. */
  window?: 0 | 1 | 2 | undefined;
}

/**
 * Checks a code, and gives the step that it uses up. Keep that as the user's `lastStep`, in one change with the
 * comparison, before anybody learns of it: else a code works twice. And count failures: `Backoff` has the wait after them.
 *
 * A wrong code (`INVALID_CODE`) is a `ProofError` as any other to `instanceof`, but without a stack trace, and so none to
 * `util.types.isNativeError`: to record one would take longer than to check the code.
 *
 * @param secret Base32 of 80 to 1,024 bits.
 * @param code As it was typed: exactly as many ASCII digits as the app shows, without blanks.
 * @throws {ProofError} `INVALID_CODE`, `CODE_ALREADY_USED` (with `retryAfterMs`), `MALFORMED_CODE`.
 * @throws {RequestError} where the secret or an option is not of its form.
 *
 * @example
 * ```js
 * const secret = totp.generateSecret();
 * const lastStep = totp.verify(secret, totp.generate(secret));
 * totp.verify(secret, totp.generate(secret), { lastStep }); // throws CODE_ALREADY_USED
 * ```
 */
export function verify(secret: string, code: string, options?: VerifyOptions): number;

/**
 * The `otpauth://` URI that an app reads out of a QR code. It holds the secret.
 *
 * @throws {RequestError} where the secret, a name or an option is not of its form.
 */
export function buildUri(
  secret: string,
  options: {
    /** Who issues the codes, as the app shows it: 1 to 128 bytes. A colon becomes a hyphen. */
    issuer: string;
    /** Whose they are: 1 to 255 bytes. */
    accountName: string;
  } & TotpParameters,
): string;

/** What an `otpauth://totp/` URI says. The secret is not enumerable: neither `console.log` nor `JSON` shows it. */
export interface OtpauthUri {
  issuer?: string;
  accountName?: string;
  readonly secret: string;
  algorithm: 'SHA1' | 'SHA256' | 'SHA512';
  digits: number;
  periodMs: number;
}

/**
 * Reads a URI that this or another system has made.
 *
 * @throws {RequestError} where it is none, says something twice, or says what is not supported.
 */
export function parseUri(uri: string): OtpauthUri;

/**
 * A QR code as a complete SVG document.
 *
 * @throws {RequestError} for more than 2,331 bytes.
 */
export function qrSvg(text: string): string;

/** What the client's calls take and give. */

import type { Client } from './index.js';

/** How identity was proved. `UNKNOWN` is one that this release does not know. */
export type Method = 'TOTP' | 'RECOVERY_KEY' | 'PASSWORD' | 'ASSERTED' | 'UNKNOWN';

/** Where an attempt came from, for the audit trail alone: it changes no decision. */
export interface ClientContext {
  ipAddress?: string | undefined;
  userAgent?: string | undefined;
}

/** What most requests have. */
export interface UserRequest {
  /**
   * The stable id of the user in your user table, 1 to 255 bytes. It is compared byte by byte: "Alice" and "alice" are
   * two users.
   */
  userId: string;
}

/** A request that changes something, and that can be repeated. */
export interface RepeatableRequest extends UserRequest {
  /**
   * 16 to 64 random printable ASCII characters, made by your backend: within ten minutes, the same id gets the same
   * answer, a new recovery key included. The client makes one where it is left out, and repeats a call whose answer was
   * lost. Give your own where you want to repeat the call yourself.
   */
  requestId?: string | undefined;
  /** Where the attempt came from, for the audit trail. */
  client?: ClientContext | undefined;
}

/** A request that is about a login session of your product. */
export interface SessionRequest extends RepeatableRequest {
  /** Names the session: your own id of it, or a hash of that; 1 to 512 bytes. */
  sessionId: string;
}

/** A code of the authenticator app. */
export interface TotpCode {
  /** 6 to 8 digits, as they were typed. */
  totpCode: string;
  recoveryKey?: undefined;
  password?: undefined;
  passwordHash?: undefined;
  asserted?: undefined;
}

/** The recovery key. */
export interface RecoveryKey {
  totpCode?: undefined;
  /** As it was typed: case, spaces and hyphens do not matter. */
  recoveryKey: string;
  password?: undefined;
  passwordHash?: undefined;
  asserted?: undefined;
}

/** The password, before enrollment. */
export interface Password {
  totpCode?: undefined;
  recoveryKey?: undefined;
  password: string;
  /** The verifier of your own user table, a PHC or bcrypt string; left out where `setPassword` stored one. */
  passwordHash?: string | undefined;
  asserted?: undefined;
}

/** Your word that you have just proved the user's identity, before enrollment and if the configuration allows it. */
export interface Asserted {
  totpCode?: undefined;
  recoveryKey?: undefined;
  password?: undefined;
  passwordHash?: undefined;
  /** How you proved it, for the audit trail: "password", "saml", "ldap". */
  asserted: string;
}

/** See {@link Client.enroll}. */
export interface EnrollRequest extends SessionRequest {
  /** What the app shows, 1 to 255 bytes; the user id where it is left out. */
  accountName?: string | undefined;
}

/** See {@link Client.enroll}. What is secret in it is not enumerable: neither `console.log` nor `JSON` shows it. */
export interface EnrollResponse {
  /** Base32, without padding. */
  readonly secret: string;
  /** The `otpauth://` URI that the app reads. */
  readonly otpauthUri: string;
  /** The same as a QR code: a complete SVG document. */
  readonly qrSvg: string;
  /** When the enrollment lapses if it is not confirmed. */
  expireTime: Date;
}

/** See {@link Client.confirmEnrollment}. */
export interface ConfirmEnrollmentRequest extends SessionRequest {
  totpCode: string;
}

/** A new recovery key. It is shown in this answer and never again, and not enumerable. */
export interface RecoveryKeyResponse {
  /** Five groups of five characters. */
  readonly recoveryKey: string;
  /** Names the key, for {@link Client.acknowledgeRecoveryKey}. */
  recoveryKeyCreateTime: Date;
}

/** See {@link Client.confirmEnrollment}. */
export interface ConfirmEnrollmentResponse extends RecoveryKeyResponse {
  enrollTime: Date;
}

/** See {@link Client.describeUser}. */
export interface DescribeUserResponse {
  enrolled: boolean;
  enrollTime?: Date;
  /** Set while an enrollment waits to be confirmed. */
  pendingExpireTime?: Date;
  recoveryKeyCreateTime?: Date;
  recoveryKeyAcknowledged: boolean;
  hasPassword: boolean;
  /** Of codes and recovery keys. */
  secondFactorBackoff: FailureCounter;
  passwordBackoff: FailureCounter;
}

/** One of a user's two failure counters. */
export interface FailureCounter {
  /** Consecutive failures since the last success. */
  failures: number;
  /** Until when attempts are refused unread. In the year 9999 for a lock, which only an administrator ends. */
  blockedUntil?: Date;
}

/** See {@link Client.evaluateLogin}. */
export interface EvaluateLoginRequest extends RepeatableRequest {
  /**
   * `FORM`: a login form, which can ask for a second step. `BASIC`: basic authentication, or another way in that
   * cannot. `RECOVERY_ADMIN`: the product's emergency administrator.
   */
  channel: 'FORM' | 'BASIC' | 'RECOVERY_ADMIN';
  /** What the user may do in the product, in its own words ("system-admin"). */
  authorities?: readonly string[] | undefined;
  /** The path that the login is for; it matters to the allowlist of `BASIC`. */
  resource?: string | undefined;
}

/** See {@link Client.evaluateLogin}. */
export interface EvaluateLoginResponse {
  /** `ALLOW`: log in. `VERIFY`: ask for a code or the recovery key. `ENROLL`: set-up first. `DENY`: refuse. */
  decision: 'ALLOW' | 'VERIFY' | 'ENROLL' | 'DENY';
  /** Why, in UPPER_SNAKE_CASE. */
  reason: string;
  /** True in exactly one answer for a user who newly owes an enrollment: tell them by email. */
  notify: boolean;
  /** True where nobody has said that the current recovery key is stored: offer a new one. */
  remindRecoveryKey: boolean;
}

/** See {@link Client.verify}. Exactly one proof is given. */
export type VerifyRequest = RepeatableRequest & {
  /** The session that logs in; where given, the same proof elevates it. */
  sessionId?: string | undefined;
} & (TotpCode | RecoveryKey);

/** See {@link Client.verify}; `method` tells whether there is a new recovery key. */
export type VerifyResponse = {
  verifyTime: Date;
  /** Set where a session was given, unless the configuration keeps logins from elevating. */
  elevation?: Elevation;
} & NewKey;

/** Whether the proof used a recovery key up. If so, show the new one before anything else. */
export type NewKey =
  | ({ method: 'RECOVERY_KEY' } & RecoveryKeyResponse)
  | { method: Exclude<Method, 'RECOVERY_KEY'>; readonly recoveryKey?: undefined; recoveryKeyCreateTime?: undefined };

/** See {@link Client.elevate}. Exactly one proof is given. */
export type ElevateRequest = SessionRequest & (TotpCode | RecoveryKey | Password | Asserted);

/** See {@link Client.elevate}. */
export type ElevateResponse = { elevation: Elevation } & (
  | RecoveryKeyResponse
  | { readonly recoveryKey?: undefined; recoveryKeyCreateTime?: undefined }
);

/** A session's recent proof of identity. */
export interface Elevation {
  method: Method;
  elevateTime: Date;
  expireTime: Date;
}

/** See {@link Client.checkElevation}. */
export interface CheckElevationRequest extends UserRequest {
  sessionId: string;
  /** How old the proof may be, in milliseconds, where that is stricter than its own lifetime. */
  maxAgeMs?: number | undefined;
}

/** See {@link Client.dropElevation}: one session, or all of them. */
export type DropElevationRequest = UserRequest &
  ({ sessionId: string; allSessions?: false } | { sessionId?: undefined; allSessions: true });

/** See {@link Client.acknowledgeRecoveryKey}. */
export interface AcknowledgeRecoveryKeyRequest extends UserRequest {
  /** Of the answer that showed the key. */
  recoveryKeyCreateTime: Date;
}

/** See {@link Client.setPassword}: the password, or a verifier of it that you have already. */
export type SetPasswordRequest = UserRequest &
  (
    | { password: string; passwordHash?: undefined }
    | {
        password?: undefined;
        /** A PHC string (argon2id, argon2i, scrypt, pbkdf2), a bcrypt string, or Django's pbkdf2 and argon2 forms. */
        passwordHash: string;
      }
  );

/** What an administrator of the product asks for, with a code of their own. */
export interface AdministratorRequest extends RepeatableRequest {
  adminUserId: string;
  /** The administrator's own code. A recovery key does not do. */
  totpCode: string;
}

/** See {@link Client.importEnrollment}. */
export interface ImportEnrollmentRequest extends UserRequest {
  /** A complete `otpauth://totp/` URI: secret, algorithm, digits and period are kept as they are. */
  otpauthUri: string;
  requestId?: string | undefined;
  /** Whether to make a recovery key now. */
  issueRecoveryKey?: boolean | undefined;
}

/** See {@link Client.watchEvents}. */
export interface WatchEventsRequest {
  /** Everything after this event, as far as it is kept; from now on where it is left out. */
  afterEventId?: string | undefined;
}

/** One thing that happened. It never holds a secret, a code, a key or a password. */
export interface Event {
  /** Greater in later events: two whole numbers with a hyphen between them, compared in this order. */
  eventId: string;
  eventTime: Date;
  /** In UPPER_SNAKE_CASE, such as `VERIFIED`. */
  type: string;
  userId?: string;
  /** Who did it, where that is somebody else. */
  actorId?: string;
  /** The authenticated caller of the API. */
  caller?: string;
  method?: Method;
  reason?: string;
  client?: ClientContext;
  /** Whose user it is. */
  namespace?: string;
}

/** A request without its user's session. */
export interface OperatorRequest extends UserRequest {
  requestId?: string | undefined;
}

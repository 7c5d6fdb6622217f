/** Recovery keys in this process, without a server. */

/** Whose key it is: the hash of one user's key is worth nothing to another. */
export interface KeyOwner {
  /** 1 to 255 bytes. */
  userId: string;
  /** 1 to 63 bytes; "default" by default. */
  namespace?: string;
}

/** A new key of 125 random bits, as it is shown to its user once: five groups of five characters. */
export function generate(): string;

/**
 * What is stored of a key: 32 bytes. Seal them like a secret.
 *
 * @param recoveryKey As it was typed: case, spaces and hyphens do not matter.
 * @throws {ProofError} `MALFORMED_CODE`: it cannot be a key.
 */
export function hash(recoveryKey: string, owner: KeyOwner): Buffer;

/**
 * Checks a key, in constant time. It works once: replace the hash in one change with the comparison.
 *
 * @throws {ProofError} `INVALID_CODE`, or `MALFORMED_CODE` where it cannot be a key.
 */
export function verify(recoveryKey: string, hash: Uint8Array, owner: KeyOwner): void;

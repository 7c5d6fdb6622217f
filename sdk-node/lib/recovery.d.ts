/// <reference types="node" />

/** Recovery keys in this process, without a server. */

/** Whose key it is: the hash of one user's key is worth nothing to another. */
export interface KeyOwner {
  /** 1 to 255 bytes. */
  userId: string;
  /** 1 to 63 bytes; "default" by default. */
  namespace?: string | undefined;
}

/** A new key of 125 random bits, as it is shown to its user once: five groups of five characters. */
export function generate(): string;

/**
 * What is stored of a key: 32 bytes. Seal them like a secret.
 *
 * @param recoveryKey As it was typed: case, spaces and hyphens do not matter.
 * @throws {ProofError} `MALFORMED_CODE`: it cannot be a key.
 * @throws {RequestError} where the owner is not of its form.
 */
export function hash(recoveryKey: string, owner: KeyOwner): Buffer;

/**
 * Checks a key, in constant time. It works once: replace the hash in one change with the comparison.
 *
 * @param hash The 32 bytes that {@link hash} gave.
 * @throws {ProofError} `INVALID_CODE`, or `MALFORMED_CODE` where it cannot be a key.
 * @throws {RequestError} where the hash or its owner is not of its form.
 *
 * @example
 * ```js
 * const key = recovery.generate();
 * const kept = recovery.hash(key, { userId: 'alice' });
 * recovery.verify(key.toLowerCase(), kept, { userId: 'alice' });
 * recovery.verify(key, kept, { userId: 'bob' }); // throws INVALID_CODE
 * ```
 */
export function verify(recoveryKey: string, hash: Uint8Array, owner: KeyOwner): void;

"""Recovery keys without a server.

A key has 125 random bits and is shown as five groups of five characters. The product shows it once, keeps its
hash alone, and replaces it in the transaction that accepts it.

>>> from twinlock import ProofError, recovery
>>> key = recovery.generate()
>>> kept = recovery.hash(key, user_id="alice")
>>> recovery.verify(key.lower().replace("-", " "), kept, user_id="alice")
>>> try:
...     recovery.verify(key, kept, user_id="bob")
... except ProofError as error:
...     print(error.reason)
INVALID_CODE
"""

from __future__ import annotations

from ._native import generate_recovery_key as generate
from ._native import hash_recovery_key as hash
from ._native import verify_recovery_key as verify

__all__ = ["generate", "hash", "verify"]

#!/usr/bin/env python3
"""Makes the samples of each format, from the description of the formats alone.

They are what users have on their disks: a sample that was released is never made anew. It needs PyPI's
cryptography. Everything in it is fixed, so that it makes the same bytes each time.
"""

import hashlib
import hmac
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = pathlib.Path(__file__).parent
KEY_ID, KEY = 0x01020304, bytes([0x42]) * 32
NAMESPACE, USER = b"default", b"alice"


def expand(info, length):
    """HKDF-Expand with SHA-256 (RFC 5869 section 2.3)."""
    output, block = b"", b""
    while len(output) < length:
        block = hmac.digest(KEY, block + info + bytes([len(output) // 32 + 1]), "sha256")
        output += block
    return output[:length]


def user_keys(context):
    keys = expand(b"twinlock v1 user keys\0" + context, 64)
    return keys[:32], keys[32:]


def short(text):
    return bytes([len(text)]) + text


def seal(context, purpose, text):
    nonce = hashlib.sha256(purpose).digest()[:12]
    sealed = AESGCM(user_keys(context)[0]).encrypt(nonce, text, purpose + b"\0" + context)
    return struct.pack(">I", KEY_ID) + nonce + sealed


def varint(number):
    encoded = b""
    while number > 127:
        encoded, number = encoded + bytes([number & 127 | 128]), number >> 7
    return encoded + bytes([number])


def number(field, value):
    return varint(field << 3) + varint(value)


def content(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


CONTEXT = short(NAMESPACE) + short(USER)
SECRET = b"12345678901234567890"  # The one of RFC 4226, appendix D.
BODY = b"".join([
    content(1, content(1, seal(CONTEXT, b"totp secret", SECRET))
            + content(2, number(1, 1) + number(2, 6) + number(3, 30))
            + number(3, 58_000_000) + number(4, 1_740_000_000_000)),
    content(3, content(1, seal(CONTEXT, b"recovery key", bytes(range(32))))
            + number(2, 1_740_000_000_000) + number(3, 1)),
    content(4, seal(CONTEXT, b"password", b"$2b$04$abcdefghijklmnopqrstuu5Q")),
    content(5, number(1, 2) + number(2, 1_740_000_100_000)),
    number(9, 1_739_000_000_000),
])
# A number and a text that format 1 does not have.
LATER = number(11, 300) + content(12, b"of a later release")


def record(format_number, body):
    tag = hmac.digest(user_keys(CONTEXT)[1], b"record\0" + bytes([format_number]) + body, "sha256")
    return bytes([format_number]) + struct.pack(">I", KEY_ID) + tag[:16] + body


def marker():
    name = b"sixteen bytes, a"
    context = b"\0dataset marker" + name
    return name + seal(context, b"marker", b"the dataset's id")


def entry(kind, rest):
    return bytes([kind]) + struct.pack(">I", len(rest)) + rest


def backup():
    header = b"twinlock backup\n" + bytes([1]) + struct.pack(">I", KEY_ID) + bytes(range(32))
    key = expand(b"twinlock v1 file\0" + header, 32)
    entries = [entry(1, struct.pack(">Q", 1_740_000_200_000) + short(b"") + marker())]
    for bytes_, expiry in [(record(1, BODY), 0), (record(2, BODY + LATER), 4_000_000_000_000)]:
        rest = short(NAMESPACE) + short(USER) + bytes(range(16)) + struct.pack(">Q", expiry)
        entries.append(entry(2, rest + bytes_))
    entries.append(entry(3, struct.pack(">QQ", 2, 0)))
    nonce = bytes(3) + struct.pack(">Q", 0) + b"\1"
    return header + AESGCM(key).encrypt(nonce, b"".join(entries), None)


for name, sample in [
    ("record-1", record(1, BODY)),
    ("record-2", record(2, BODY + LATER)),
    ("record-3", record(3, BODY)),
    ("backup-1", backup()),
]:
    (HERE / f"{name}.bin").write_bytes(sample)

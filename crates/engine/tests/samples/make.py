#!/usr/bin/env python3
"""Makes the samples of each format, from the description of the formats alone.

They are what users have on their disks: a sample that was released is never made anew. It needs PyPI's
cryptography. Everything in it is fixed, so that it makes the same bytes each time.
"""

import base64
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


def seal(context, purpose, text, place=b""):
    nonce = hashlib.sha256(purpose + place).digest()[:12]
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


# Everything that a record of format 1 may hold. The tests live at NOW.
NOW = 1_740_000_300_000
RECOVERY_KEY, ANSWERED_KEY = b"7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B", b"14D2P-F2DBS-QQG28-T5CY4-TQKFF"


def digest(label, *parts):
    return hmac.digest(user_keys(CONTEXT)[1], label + b"\0" + b"".join(parts), "sha256")[:16]


def request(*fields):
    return digest(b"request", *(struct.pack(">Q", len(field)) + field for field in fields))


def receipt(request_id, fields, rest):
    ids = content(1, digest(b"request id", request_id)) + content(2, request(*fields))
    return content(8, ids + number(3, NOW - 60_000) + rest)


def recovery_hash(key):
    parts = [NAMESPACE, USER, key.replace(b"-", b"")]
    lengthened = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return hashlib.sha256(b"twinlock recovery key 1" + lengthened).digest()


def unpadded(binary):
    return base64.b64encode(binary).rstrip(b"=")


def password(text):
    salt = b"a salt of sixteen"[:16]
    derived = hashlib.pbkdf2_hmac("sha256", text, salt, 1000)
    return b"$pbkdf2-sha256$i=1000,l=32$" + unpadded(salt) + b"$" + unpadded(derived)


PARAMETERS = number(1, 1) + number(2, 6) + number(3, 30)
LAPTOP = digest(b"session", b"laptop")
AUTHENTICATOR = (content(1, seal(CONTEXT, b"totp secret", SECRET)) + content(2, PARAMETERS)
                 + number(3, 58_000_000) + number(4, 1_740_000_000_000))
PENDING = (content(1, seal(CONTEXT, b"totp secret", SECRET[::-1], b"pending")) + content(2, PARAMETERS)
           + content(3, LAPTOP) + number(4, 1) + number(5, NOW - 60_000))
RECOVERY = (content(1, seal(CONTEXT, b"recovery key", recovery_hash(RECOVERY_KEY), b"whole"))
            + number(2, 1_740_000_000_000) + number(3, 1))
FAILURES = number(1, 1) + number(2, NOW - 3_600_000) + number(3, 7)
ELEVATION = content(1, LAPTOP) + number(2, 1) + number(3, NOW - 60_000)
ANSWER = content(2, ANSWERED_KEY) + number(3, NOW - 60_000)
RECEIPTS = [
    receipt(b"an answered request", [b"RotateRecoveryKey", b"laptop"],
            content(4, seal(CONTEXT, b"answer", ANSWER)) + number(5, 1)),
    receipt(b"a refused request", [b"Verify", b"", b"totp", b"000000"], content(6, b"INVALID_CODE")),
    receipt(b"a repeated code's", [b"Verify", b"", b"totp", b"111111"],
            content(6, b"CODE_ALREADY_USED") + number(7, NOW + 1000)),
]
WHOLE = b"".join([
    content(1, AUTHENTICATOR),
    content(2, PENDING),
    content(3, RECOVERY),
    content(4, seal(CONTEXT, b"password", password(b"the right password"), b"whole")),
    content(5, FAILURES),
    content(6, FAILURES),
    content(7, ELEVATION),
    content(7, content(1, digest(b"session", b"phone")) + number(2, 2) + number(3, NOW - 120_000)),
    *RECEIPTS,
    number(9, 1_739_000_000_000),
    number(10, 1_730_000_000_000),
])


def within():
    """What no release writes: a number that format 1 does not have, in each message within a record."""
    new = content(15, b"new")
    places = [
        content(1, AUTHENTICATOR + new),
        content(1, AUTHENTICATOR.replace(content(2, PARAMETERS), content(2, PARAMETERS + new))),
        content(2, PENDING + new),
        content(2, PENDING.replace(content(2, PARAMETERS), content(2, PARAMETERS + new))),
        content(3, RECOVERY + new),
        content(5, FAILURES + new),
        content(6, FAILURES + new),
        content(7, ELEVATION + new),
        receipt(b"later", [b"later"], content(6, b"INVALID_CODE") + new),
    ]
    records = [record(1, place) for place in places]
    return b"".join(struct.pack(">H", len(it)) + it for it in records)


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
    ("record-1-whole", record(1, WHOLE)),
    ("record-2-whole", record(2, WHOLE + LATER)),
    ("records-new-within", within()),
    ("backup-1", backup()),
]:
    (HERE / f"{name}.bin").write_bytes(sample)

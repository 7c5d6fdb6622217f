// Makes google-authenticator.txt in the form of the app's export, with protobufjs and the message definition
// of the npm package otpauth-migration:
//
//     npm install otpauth-migration@1.0.0 protobufjs@7
//     node make-google-authenticator.mjs > google-authenticator.txt
//
// The keys are of this sample alone.

import protobuf from "protobufjs";

const definition = await protobuf.load("node_modules/otpauth-migration/src/proto/migration.proto");
const Payload = definition.lookupType("migration.Payload");

const SHA1 = 1, SHA256 = 2, SHA512 = 3, MD5 = 4;
const SIX = 1, EIGHT = 2;
const HOTP = 1, TOTP = 2;

const account = (name, secret, algorithm, digits, type) =>
    ({ secret: Buffer.from(secret), issuer: "Example", name, algorithm, digits, type });

const batches = [
    [
        account("Example:alice@example.com", "12345678901234567890", SHA1, SIX, TOTP),
        account("bob@example.com", "12345678901234567890123456789012", SHA256, EIGHT, TOTP),
        account("carol@example.com", "1234567890".repeat(6) + "1234", SHA512, SIX, TOTP),
    ],
    [
        account("dave@example.com", "12345678901234567890", SHA1, SIX, HOTP),
        account("erin@example.com", "12345678901234567890", MD5, SIX, TOTP),
        account("Example:frank: the second", "09876543210987654321", SHA1, SIX, TOTP),
    ],
];

batches.forEach((otpParameters, batchIndex) => {
    const payload = { otpParameters, version: 1, batchSize: batches.length, batchIndex, batchId: 2026 };
    const bytes = Payload.encode(payload).finish();
    const data = encodeURIComponent(Buffer.from(bytes).toString("base64"));
    console.log(`otpauth-migration://offline?data=${data}`);
});

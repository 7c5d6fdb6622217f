// The shop's users. Twinlock knows them by their ids.

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = (password, salt) =>
  promisify(scrypt)(password, salt, 32, { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 2 ** 20 });
const base64 = (bytes) => bytes.toString('base64').replaceAll('=', '');

/** A PHC string, which Twinlock can read, too. */
async function hash(password) {
  const salt = randomBytes(16);
  return `$scrypt$ln=15,r=8,p=1$${base64(salt)}$${base64(await derive(password, salt))}`;
}

const users = await Promise.all(
  ['alice', 'bob', 'carol', 'root'].map(async (name, index) => ({
    id: String(index + 1),
    name,
    passwordHash: await hash(process.env.SHOP_PASSWORD ?? 'correct horse'),
    authorities: name === 'root' ? ['staff'] : [],
  })),
);
// An unknown name takes as long as a wrong password.
const nobody = { passwordHash: await hash(randomBytes(16)) };

export const allUsers = () => users;
export const userById = (id) => users.find((user) => user.id === id);

export async function userByPassword(name, password) {
  const user = users.find((known) => known.name === name) ?? nobody;
  const [salt, expected] = user.passwordHash
    .split('$')
    .slice(-2)
    .map((part) => Buffer.from(part, 'base64'));
  const same = timingSafeEqual(await derive(password, salt), expected);
  return same && user !== nobody ? user : undefined;
}

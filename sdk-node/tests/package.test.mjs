// From an empty folder: the packed tarballs are installed, and then the README's own code runs against a server, as ESM,
// as CommonJS and as TypeScript.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'smol-toml';
import { Server, bareEnvironment, repository } from './server.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const { platforms } = createRequire(import.meta.url)('../lib/platforms.js');

const blocks = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
const withServer = blocks[0] + blocks[1];
const without = blocks[2];
const middleware = blocks[3];
const EXPECTED = `VERIFY
CODE_ALREADY_USED This code was used before. Wait for the next one and enter that.
RECOVERY_KEY RECOVERY_KEY
`;

let server;
let packages;
let folder;

before(async () => {
  packages = mkdtempSync(join(tmpdir(), 'twinlock-packages-'));
  execFileSync(process.execPath, [join(root, 'scripts/pack.mjs'), '--out', packages], { stdio: 'inherit' });
  server = await Server.start();
  folder = mkdtempSync(join(tmpdir(), 'twinlock-install-'));
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  const tarballs = readdirSync(packages).filter((name) => name.endsWith('.tgz'));
  assert.equal(tarballs.length, 2);
  // Offline: whatever else it needed would be missing.
  npm('install', '--offline', '--no-audit', '--no-fund', ...tarballs.map((name) => join(packages, name)));
});

after(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
  rmSync(packages, { recursive: true });
});

function npm(...command) {
  execFileSync('npm', command, { cwd: folder, stdio: 'pipe' });
}

async function run(name, code, user) {
  writeFileSync(join(folder, name), code.replaceAll("'alice'", `'${user}'`));
  const environment = bareEnvironment({ TWINLOCK_ADDRESS: server.address });
  const { stdout } = await promisify(execFile)(process.execPath, [name], { cwd: folder, env: environment, timeout: 30_000 });
  return stdout;
}

/** The same code for modules that `require`. */
function required(code) {
  const imports = /import (\{[^}]*\}) from '([^']*)';/g;
  return `(async () => {\n${code.replaceAll(imports, "const $1 = require('$2');")}\n})();\n`;
}

/** The examples in the types, as one module that is compiled and not run. */
function examples() {
  const files = ['index', 'totp', 'recovery', 'backoff'].map((name) => readFileSync(join(root, `lib/${name}.d.ts`), 'utf8'));
  const found = files.flatMap((file) => [...file.matchAll(/\* ```js\n(.*?)\* ```/gs)]);
  assert(found.length > 10);
  const given = `
    import { Backoff, BlockedError, Client, ProofError, recovery, totp } from 'twinlock';
    const [userId, sessionId, totpCode, otpauthUri, token, afterEventId]: string[] = [];
    declare const client: Client;
    declare const user: { failures: number; lastFailure?: Date };
    declare function askAgain(message: string, milliseconds?: number): void;
    declare function wait(milliseconds?: number): void;
    declare function step(): void;
    const [logIn, askForCode, setUpFirst, refuse] = [step, step, step, step];
  `;
  return given + found.map(([, code]) => `{\n${code.replaceAll(/^ *\* ?/gm, '')}}\n`).join('');
}

describe('the packed tarballs', () => {
  it('install without a script, and hold no more than they must', () => {
    const installed = join(folder, 'node_modules');
    assert.deepEqual(readdirSync(installed).filter((name) => !name.startsWith('.')).sort(), ['@twinlock', 'twinlock']);
    const main = JSON.parse(readFileSync(join(installed, 'twinlock/package.json'), 'utf8'));
    assert.equal(main.scripts, undefined);
    assert.equal(main.dependencies, undefined);
    const optional = platforms.map(({ name }) => [`@twinlock/${name}`, manifest.version]);
    assert.deepEqual(main.optionalDependencies, Object.fromEntries(optional));
    assert.deepEqual(readdirSync(join(installed, 'twinlock')).sort(), ['LICENSE', 'README.md', 'lib', 'package.json']);
  });

  it('have the version of everything else', () => {
    const { workspace } = parse(readFileSync(join(repository, 'Cargo.toml'), 'utf8'));
    assert.equal(manifest.version, workspace.package.version);
  });

  it('do what the README says, as ESM', async () => {
    assert.equal(await run('server.mjs', withServer, 'esm'), EXPECTED);
    assert.equal(await run('local.mjs', without, 'esm'), '');
  });

  it('do what the README says, as CommonJS', async () => {
    assert.equal(await run('server.cjs', required(withServer), 'commonjs'), EXPECTED);
    assert.equal(await run('local.cjs', required(without), 'commonjs'), '');
  });

  it('do what the README says, with Express and with Fastify', async () => {
    for (const name of ['express', 'fastify']) {
      symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
    }
    const site = `
      import express from 'express';
      import { Client } from 'twinlock';
      const client = new Client();
      const app = express();
      app.use(express.json(), (request, response, next) => {
        Object.assign(request, { session: { userId: 'alice' }, sessionID: 'web-1' });
        next();
      });
      const payOut = (request, response) => response.json(request.twinlock.elevation.method);
    `;
    const visit = `
      await client.elevate({ userId: 'alice', sessionId: 'setup', asserted: 'test' });
      const { secret } = await client.enroll({ userId: 'alice', sessionId: 'setup' });
      const { totp } = await import('twinlock');
      const code = totp.generate(secret);
      await client.confirmEnrollment({ userId: 'alice', sessionId: 'setup', totpCode: code });
      const listener = app.listen(0, '127.0.0.1', async () => {
        for (const [path, totpCode] of [['payout'], ['login/code', code], ['login/code', '12']]) {
          const answer = await fetch('http://127.0.0.1:' + listener.address().port + '/' + path, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ totpCode }),
          });
          console.log(answer.status, (await answer.json()).reason);
        }
        const { recoveryKey } = await client.rotateRecoveryKey({ userId: 'alice', sessionId: 'setup' });
        await client.elevate({ userId: 'alice', sessionId: 'web-1', recoveryKey });
        const paid = await fetch('http://127.0.0.1:' + listener.address().port + '/payout', { method: 'POST' });
        console.log(paid.status, await paid.json());
        listener.close();
        await client.close();
      });
    `;
    const expected = `403 ELEVATION_REQUIRED\n401 CODE_ALREADY_USED\n400 MALFORMED_CODE\n200 RECOVERY_KEY\n`;
    assert.equal(await run('site.mjs', site + middleware + visit, 'express'), expected);
    const compare = `
      import { createRequire } from 'node:module';
      const names = (module) => Object.keys(module).filter((name) => !/^(default|module.exports)$/.test(name)).sort().join();
      const require = createRequire(import.meta.url);
      console.log(names(await import('twinlock')) === names(require('twinlock')));
      console.log(names(await import('twinlock/express')) === names(require('twinlock/fastify')));
    `;
    assert.equal(await run('same.mjs', compare, 'x'), 'true\ntrue\n');
  });

  it('do what the README says, as TypeScript', async () => {
    const { typescript, '@types/node': types } = manifest.devDependencies;
    npm('install', '--prefer-offline', '--no-audit', '--no-fund', `typescript@${typescript}`, `@types/node@${types}`);
    // TypeScript cannot guess what a variable will hold that begins as undefined.
    const typed = without.replace(
      'const user = {',
      'const user: { lastStep: number | undefined; failures: number; lastFailure: Date | undefined } = {',
    );
    assert.notEqual(typed, without);
    writeFileSync(join(folder, 'server.mts'), withServer.replaceAll("'alice'", "'typescript'"));
    writeFileSync(join(folder, 'local.mts'), typed);
    writeFileSync(join(folder, 'examples.mts'), examples());
    const strict = ['--strict', '--noImplicitAny', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
    const compiler = join(folder, 'node_modules/typescript/bin/tsc');
    execFileSync(process.execPath, [compiler, ...strict, '--outDir', 'compiled', 'server.mts', 'local.mts', 'examples.mts'], { cwd: folder, stdio: 'inherit' });
    assert.equal(await run('compiled/server.mjs', readFileSync(join(folder, 'compiled/server.mjs'), 'utf8'), 'x'), EXPECTED);
    assert.equal(await run('compiled/local.mjs', readFileSync(join(folder, 'compiled/local.mjs'), 'utf8'), 'x'), '');
  });
});

// Makes the packages to publish, as tarballs: `twinlock`, and for each native half that is given the package of its
// platform. With none given, that in build/ is taken for this platform's.
//
//   node scripts/pack.mjs [--out DIRECTORY] [linux-x64-gnu=path/to/libtwinlock_node.so ...]
//
// They go to build/packages where no directory is named, and take the place of what is there only once they are complete.

import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values, positionals } = parseArgs({
  options: { out: { type: 'string', default: join(root, 'build/packages') } },
  allowPositionals: true,
});
const out = resolve(values.out);
const { platform: present, platforms } = createRequire(import.meta.url)('../lib/platforms.js');
// The checkout is private, so that nobody publishes it without its platforms.
const { scripts, devDependencies, private: ours, ...manifest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const given = positionals.map((argument) => argument.split('='));
const natives = given.length > 0 ? given : [[present(), join(root, 'build/twinlock.node')]];

mkdirSync(out, { recursive: true });
// A directory of this run's own, so that another one that packs at the same time is not disturbed.
const work = mkdtempSync(join(out, '.packing-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
const optionalDependencies = Object.fromEntries(platforms.map(({ name }) => [`@twinlock/${name}`, manifest.version]));
pack('twinlock', { ...manifest, optionalDependencies }, (directory) => {
  cpSync(join(root, 'lib'), join(directory, 'lib'), { recursive: true });
  copyFileSync(join(root, 'README.md'), join(directory, 'README.md'));
});
for (const [name, native] of natives) {
  const platform = platforms.find((known) => known.name === name);
  if (platform === undefined) {
    throw new Error(`no platform ${name}; see lib/platforms.js`);
  }
  const { version, license, repository, engines } = manifest;
  const { os, cpu, libc } = platform;
  const about = {
    name: `@twinlock/${name}`,
    version,
    description: `The native half of twinlock for ${name}`,
    license,
    repository,
    engines,
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    main: 'twinlock.node',
    files: ['twinlock.node'],
    publishConfig: { access: 'public' },
  };
  pack(name, about, (directory) => {
    copyFileSync(native, join(directory, 'twinlock.node'));
    writeFileSync(join(directory, 'README.md'), `The native half of the package twinlock for ${name}.\n`);
  });
}

const packed = tarballs(work);
packed.forEach((name) => renameSync(join(work, name), join(out, name)));
tarballs(out).filter((name) => !packed.includes(name)).forEach((name) => rmSync(join(out, name), { force: true }));

function tarballs(directory) {
  return readdirSync(directory).filter((name) => name.endsWith('.tgz'));
}

function pack(name, about, fill) {
  const directory = join(work, name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(about, undefined, 2)}\n`);
  copyFileSync(join(root, '../LICENSE'), join(directory, 'LICENSE'));
  fill(directory);
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', work], { cwd: directory, stdio: ['ignore', 'ignore', 'inherit'] });
}

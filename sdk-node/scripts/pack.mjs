// Makes the packages to publish, as tarballs in build/packages: `twinlock`, and for each native half that is given the
// package of its platform. With none given, that in build/ is taken for this platform's.
//
//   node scripts/pack.mjs [linux-x64-gnu=path/to/libtwinlock_node.so ...]

import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'build/packages');
const { platform: present, platforms } = createRequire(import.meta.url)('../lib/platforms.js');
// The checkout is private, so that nobody publishes it without its platforms.
const { scripts, devDependencies, private: ours, ...manifest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const given = process.argv.slice(2).map((argument) => argument.split('='));
const natives = given.length > 0 ? given : [[present(), join(root, 'build/twinlock.node')]];

rmSync(out, { recursive: true, force: true });
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

function pack(name, about, fill) {
  const directory = join(out, name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(about, undefined, 2)}\n`);
  copyFileSync(join(root, '../LICENSE'), join(directory, 'LICENSE'));
  fill(directory);
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out], { cwd: directory, stdio: ['ignore', 'ignore', 'inherit'] });
}

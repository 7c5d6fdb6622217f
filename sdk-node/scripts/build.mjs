// Builds the native half and puts it where lib/native.js looks first. `--release` is for what is measured or
// published.

import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const release = process.argv.includes('--release');
const at = (path) => fileURLToPath(new URL(path, import.meta.url));

execFileSync('cargo', ['build', '--locked', '--package', 'twinlock-node', ...(release ? ['--release'] : [])], {
  cwd: at('..'),
  stdio: 'inherit',
});
const library = process.platform === 'darwin' ? 'libtwinlock_node.dylib' : 'libtwinlock_node.so';
const built = at(`../../target/${release ? 'release' : 'debug'}/${library}`);
mkdirSync(at('../build'), { recursive: true });
// A process that has the old one loaded must not see it change.
rmSync(at('../build/twinlock.node'), { force: true });
copyFileSync(built, at('../build/twinlock.node'));

// Builds the native half and puts it where lib/native.js looks first.
//
//   node scripts/build.mjs [--release | --workspace]
//
// --release is for what is measured or published. --workspace builds all of the repository, as its tests do, and so shares
// what they have built.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, renameSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { release: { type: 'boolean' }, workspace: { type: 'boolean' } } });
const at = (path) => fileURLToPath(new URL(path, import.meta.url));

const what = values.workspace ? ['--workspace', '--all-targets'] : ['--package', 'twinlock-node'];
const how = values.release ? ['--release'] : [];
execFileSync('cargo', ['build', '--locked', ...what, ...how], { cwd: at('..'), stdio: 'inherit' });
const library = process.platform === 'darwin' ? 'libtwinlock_node.dylib' : 'libtwinlock_node.so';
mkdirSync(at('../build'), { recursive: true });
// In one step: a process that has the old one loaded must not see it change.
copyFileSync(at(`../../target/${values.release ? 'release' : 'debug'}/${library}`), at('../build/twinlock.node.new'));
renameSync(at('../build/twinlock.node.new'), at('../build/twinlock.node'));

'use strict';

// Finds the native half: in this checkout after a build, else in the package of this platform, which npm installs as an
// optional dependency. Nothing is downloaded, and nothing is run at installation.

const fs = require('node:fs');
const path = require('node:path');
const { platform, platforms } = require('./platforms.js');

module.exports = load();

function load() {
  const built = path.join(__dirname, '..', 'build', 'twinlock.node');
  if (fs.existsSync(built)) {
    return require(built);
  }
  const name = platform();
  let location;
  try {
    location = require.resolve(`@twinlock/${name}`);
  } catch {
    throw new Error(missing(name));
  }
  return require(location);
}

function missing(name) {
  if (!platforms.some((known) => known.name === name)) {
    const names = platforms.map((known) => known.name).join(', ');
    return `twinlock has no native half for this platform, ${name}. It has some for: ${names}.`;
  }
  return (
    `twinlock's native half for this platform, the package @twinlock/${name}, is not installed. It is an optional ` +
    'dependency: npm leaves it out with --omit=optional, and may do so where node_modules or the lock file came ' +
    'from another platform. Install without that option; else remove node_modules and the lock file first.'
  );
}

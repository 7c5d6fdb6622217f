'use strict';

// Finds the native half: in this checkout after a build, else in the package of this platform, which npm
// installs as an optional dependency. Nothing is downloaded, and nothing is run at installation.

const fs = require('node:fs');
const path = require('node:path');
const platforms = require('./platforms.js');

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

function platform() {
  const system = `${process.platform}-${process.arch}`;
  return process.platform === 'linux' ? `${system}-${isMusl() ? 'musl' : 'gnu'}` : system;
}

function isMusl() {
  const { report } = process;
  const before = report.excludeNetwork;
  // Otherwise the report looks up the names of all open connections.
  report.excludeNetwork = true;
  try {
    return report.getReport().header.glibcVersionRuntime === undefined;
  } finally {
    report.excludeNetwork = before;
  }
}

function missing(name) {
  if (!platforms.some((known) => known.name === name)) {
    const names = platforms.map((known) => known.name).join(', ');
    return `twinlock has no native part for this platform, ${name}. There are native parts for: ${names}.`;
  }
  return (
    `twinlock's native part for this platform, the package @twinlock/${name}, is not installed. It is an optional ` +
    'dependency: npm leaves it out with --omit=optional, and may do so where node_modules or the lock file came ' +
    'from another platform. Install without that option; else remove node_modules and the lock file first.'
  );
}

'use strict';

/** The platforms that there is a native half for, as npm describes them: each is a package of its own. */
const platforms = [
  { name: 'linux-x64-gnu', os: 'linux', cpu: 'x64', libc: 'glibc' },
  { name: 'linux-x64-musl', os: 'linux', cpu: 'x64', libc: 'musl' },
  { name: 'linux-arm64-gnu', os: 'linux', cpu: 'arm64', libc: 'glibc' },
  { name: 'linux-arm64-musl', os: 'linux', cpu: 'arm64', libc: 'musl' },
  { name: 'darwin-x64', os: 'darwin', cpu: 'x64' },
  { name: 'darwin-arm64', os: 'darwin', cpu: 'arm64' },
];

/** The name of this one, whether there is a native half for it or not. */
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

module.exports = { platform, platforms };

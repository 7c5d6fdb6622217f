'use strict';

// To start a call takes some microseconds of the event loop's thread. A thousand at once would hold up
// everything else for too long, so that only so many are started in one turn of the loop.

const MOST = 64;

let left = MOST;
let isOver = true;
const waiting = [];

/** Nothing where a call may start at once, else a promise of its turn. First come, first served. */
function turn() {
  if (left > 0 && waiting.length === 0) {
    take();
    return undefined;
  }
  return new Promise((resolve) => waiting.push(resolve));
}

function take() {
  left -= 1;
  if (isOver) {
    isOver = false;
    setImmediate(next);
  }
}

function next() {
  left = MOST;
  isOver = true;
  for (const start of waiting.splice(0, MOST)) {
    take();
    start();
  }
}

module.exports = { turn };

'use strict';

// To start a call, or to take its answer, needs some microseconds of the event loop's thread. A thousand at once would
// hold up everything else for too long, so there are only so many in one turn of the loop.

const STARTS = 16;

let left = STARTS;
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
  left = STARTS;
  isOver = true;
  for (const start of waiting.splice(0, STARTS)) {
    take();
    start();
  }
}

/** Counts answers, and tells `turned` how many there were once the loop has had its turn. */
function answerCounter(turned) {
  let answers = 0;
  const tell = () => {
    const count = answers;
    answers = 0;
    turned(count);
  };
  return () => {
    answers += 1;
    if (answers === 1) {
      setImmediate(tell);
    }
  };
}

module.exports = { answerCounter, turn };

'use strict';

const native = require('./native.js');
const { attempt } = require('./errors.js');
const { checked, date, number, one } = require('./forms.js');

const schedule = { toleratedFailures: number, initialMs: number, maximumMs: number, hardLimit: number };

class Backoff {
  #schedule;

  constructor(options = {}) {
    const given = checked(schedule, options);
    this.#schedule = attempt(() => native.backoffSchedule(given));
  }

  waitMs(failures) {
    one(number, 'failures', failures);
    return attempt(() => this.#schedule.wait(failures));
  }

  check(failures, lastFailure, options = {}) {
    one(number, 'failures', failures);
    const since = lastFailure === undefined || lastFailure === null ? undefined : one(date, 'last_failure', lastFailure);
    const { at = Date.now() } = checked({ at: date }, options);
    return attempt(() => this.#schedule.check(failures, since, at));
  }
}

module.exports = { Backoff };

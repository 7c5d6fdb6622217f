// Runs the scenario files of the repository; tests/README.md there documents the format.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'smol-toml';
import * as twinlock from 'twinlock';
import { Authenticator } from './authenticator.mjs';
import { repository } from './server.mjs';

const { Client, TwinlockError } = twinlock;

const directory = join(repository, 'tests/scenarios');
const reasons = parse(readFileSync(join(repository, 'tests/reasons.toml'), 'utf8'));
/** The class of each reason, by the table in docs/sdk-errors.md. */
const classes = Object.fromEntries(
  [...readFileSync(join(repository, 'docs/sdk-errors.md'), 'utf8').matchAll(/^\| `(\w+Error)` .*\|(.*)\|$/gm)].flatMap(
    ([, name, listed]) => [...listed.matchAll(/`(\w+)`/g)].map(([, reason]) => [reason, twinlock[name]]),
  ),
);

/** What must be left of a step where a code must not lapse on its way, in seconds. */
const MARGIN = 4;

const KINDS = ['include', 'wait', 'restart', 'let', 'call'];
const OF_CALLS = ['token', 'request', 'expect', 'refused', 'field', 'retry_after', 'save', 'times', 'parallel', 'outcome'];
const OF_OUTCOMES = ['count', 'expect', 'refused', 'field', 'retry_after'];
const IN_REQUESTS = ['code_of', 'wrong_code_of', 'retyped_key', 'padded_text'];
const IN_ANSWERS = ['is_set', 'is_not', 'seconds_from_now'];
const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

export function files() {
  const names = readdirSync(directory).filter((name) => name.endsWith('.toml'));
  assert(names.length > 0);
  return names.map((name) => name.replace(/\.toml$/, '')).sort();
}

/** The file with the steps of included ones in their places. What the format does not know is an error. */
export function read(name) {
  const { about, settings = {}, steps } = readFile(name);
  assert(about.trim() !== '' && steps.length > 0, name);
  const variables = new Set(['user']);
  steps.forEach((step) => check(step, variables));
  return { name, settings, steps, restarts: steps.some((step) => step.restart) };
}

function readFile(name) {
  const { about, settings, step = [], ...rest } = parse(readFileSync(join(directory, `${name}.toml`), 'utf8'));
  assert.deepEqual(rest, {}, name);
  const steps = step.flatMap((one, index) => {
    const place = `${name}.toml, step ${index + 1}`;
    const known = ['note', ...KINDS, ...('call' in one ? OF_CALLS : [])];
    assert.deepEqual(Object.keys(one).filter((key) => !known.includes(key)), [], place);
    assert.equal(KINDS.filter((kind) => kind in one).length, 1, place);
    return 'include' in one ? readFile(`shared/${one.include}`).steps : [{ place, ...one }];
  });
  return { about, settings, steps };
}

/** Finds methods, reasons and values that do not exist, and variables that are not set yet. Fields are checked by the
 * package, which refuses unknown ones. */
function check(step, variables) {
  const known = (value, also = []) => {
    if (typeof value === 'string') {
      const used = [...value.matchAll(/\$\{(.*?)\}/g)].map(([, name]) => name);
      assert.deepEqual(used.filter((name) => !variables.has(name) && !also.includes(name)), [], step.place);
    } else if (typeof value === 'object') {
      Object.values(value).forEach((inner) => known(inner, also));
    }
  };
  if (step.let) {
    known(step.let);
    checkSpecials(step.let, IN_REQUESTS, step.place);
    Object.keys(step.let).forEach((name) => variables.add(name));
  }
  if (step.call) {
    assert(lower(step.call) in Client.prototype, step.place);
    known(step.request ?? {}, 'times' in step || 'parallel' in step ? ['n'] : []);
    checkSpecials(step.request ?? {}, IN_REQUESTS, step.place);
    for (const outcome of outcomes(step)) {
      assert.equal(Number('expect' in outcome) + Number('refused' in outcome), 1, step.place);
      assert('expect' in outcome || outcome.refused in reasons, step.place);
      known(outcome.expect ?? {});
      checkSpecials(outcome.expect ?? {}, IN_ANSWERS, step.place);
    }
    Object.keys(step.save ?? {}).forEach((name) => variables.add(name));
  }
}

function checkSpecials(fields, specials, place) {
  for (const value of Object.values(fields).filter(isTable)) {
    const special = Object.keys(value).find((key) => key.includes('_'));
    if (special === undefined) {
      checkSpecials(value, specials, place);
    } else {
      assert(specials.includes(Object.keys(value)[0]), place);
    }
  }
}

function outcomes(step) {
  const count = step.times ?? step.parallel ?? 1;
  const all = step.outcome ?? [{ ...Object.fromEntries(Object.entries(step).filter(([key]) => OF_OUTCOMES.includes(key))), count }];
  assert.equal(all.reduce((sum, outcome) => sum + outcome.count, 0), count, step.place);
  return all;
}

/** A scenario that is being run. An error says where and why it went wrong. */
export class Life {
  #server;
  #clients = new Map();
  #variables;
  #shown = new Map();
  #notBefore = 0;
  #lastWait;

  constructor(scenario, server) {
    this.steps = scenario.steps;
    this.#server = server;
    this.#variables = { user: `${scenario.name}-node-${process.hrtime.bigint()}` };
  }

  async run() {
    try {
      for (const step of this.steps) {
        await this.#step(step).catch((error) => {
          throw new Error(`${step.place}: ${error.message}`, { cause: error });
        });
      }
    } finally {
      await this.#disconnect();
    }
  }

  async #step(step) {
    if (step.wait !== undefined) {
      await sleep(step.wait === 'retry_after' ? this.#lastWait : milliseconds(step.wait));
    } else if (step.restart) {
      await this.#disconnect();
      await this.#server.restart();
    } else if (step.let) {
      for (const name of Object.keys(step.let).sort()) {
        this.#variables[name] = this.#resolve(step.let[name]);
      }
      await this.#pause();
    } else {
      await this.#call(step);
    }
  }

  async #disconnect() {
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
    this.#clients.clear();
  }

  async #call(step) {
    const count = step.times ?? step.parallel ?? 1;
    const request = { userId: this.#variables.user, ...this.#resolve(step.request ?? {}) };
    const expected = outcomes(step);
    await this.#pause();
    const one = (number) => this.#end(step, count > 1 ? substitute(request, { n: String(number) }) : request);
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    const ends = [];
    if (step.parallel) {
      ends.push(...(await Promise.all(numbers.map(one))));
    } else {
      for (const number of numbers) {
        ends.push(await one(number));
      }
    }
    const counts = expected.map(() => 0);
    for (const end of ends) {
      const differences = expected.map((outcome) => this.#difference(outcome, end));
      const index = differences.indexOf(undefined);
      assert(index >= 0, `${step.call}: ${differences.join(', or ')}; came ${JSON.stringify(end)}`);
      counts[index] += 1;
    }
    assert.deepEqual(counts, expected.map((outcome) => outcome.count), step.call);
    const last = ends.at(-1);
    for (const [name, path] of Object.entries(step.save ?? {})) {
      const value = path.split('.').reduce((answer, field) => answer?.[field], last);
      assert(typeof value === 'string' && value !== '', `no text at ${path}`);
      this.#variables[name] = value;
    }
    this.#lastWait = last instanceof TwinlockError ? (last.retryAfterMs ?? this.#lastWait) : this.#lastWait;
  }

  async #end({ call, token }, request) {
    const known = this.#clients.get(token);
    const client = known ?? new Client({ address: this.#server.address, token, timeoutMs: 20_000 });
    this.#clients.set(token, client);
    try {
      return toProtobuf(call, await client[lower(call)](fromProtobuf(request)));
    } catch (error) {
      assert(error instanceof TwinlockError, `${error.stack}`);
      checkRefusal(error);
      return error;
    }
  }

  #difference(outcome, end) {
    if ('expect' in outcome) {
      return end instanceof TwinlockError
        ? 'expected an answer'
        : difference(substitute(outcome.expect, this.#variables), end);
    }
    if (end.reason !== outcome.refused || !(end instanceof TwinlockError)) {
      return `expected ${outcome.refused}`;
    }
    if (outcome.field !== undefined && !end.fields.includes(outcome.field)) {
      return `expected the field ${outcome.field}`;
    }
    const { at_least: least = '0s', at_most: most } = outcome.retry_after ?? {};
    const wait = end.retryAfterMs ?? 0;
    const isWithin = milliseconds(least) <= wait && (most === undefined || wait <= milliseconds(most));
    return isWithin ? undefined : `expected a wait of ${least} to ${most}`;
  }

  /** Waits until the codes that were resolved are good. */
  async #pause() {
    await sleep(Math.max(0, this.#notBefore * 1000 + 20 - Date.now()));
    this.#notBefore = 0;
  }

  #resolve(value) {
    if (isTable(value) && Object.keys(value).some((key) => key.includes('_'))) {
      return this.#special(substitute(value, this.#variables));
    }
    if (isTable(value)) {
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, this.#resolve(inner)]));
    }
    return substitute(value, this.#variables);
  }

  #special({ code_of: app, offset, wrong_code_of: wrong, retyped_key: key, padded_text: text, bytes }) {
    if (app !== undefined) {
      return this.#code(app, offset);
    }
    if (wrong !== undefined) {
      return Authenticator.of(wrong).wrongCode();
    }
    if (key !== undefined) {
      return key.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l');
    }
    return text + 'x'.repeat(bytes - Buffer.byteLength(text));
  }

  #code(uri, offset) {
    const app = Authenticator.of(uri);
    const now = Date.now() / 1000;
    const isCalm = app.period - (now % app.period) >= MARGIN;
    const last = this.#shown.get(uri) ?? -Infinity;
    const present = app.step(now) + (isCalm ? 0 : 1);
    const step = offset === undefined ? Math.max(present - 1, last + 1) : present + offset;
    const begin = offset === undefined ? step - 1 : present;
    this.#notBefore = Math.max(this.#notBefore, begin * app.period);
    this.#shown.set(uri, Math.max(last, step));
    return app.code(step);
  }
}

/** A request in proto JSON as the package takes it. */
function fromProtobuf(request) {
  const given = {};
  for (const [name, value] of Object.entries(request)) {
    if (name === 'password' && isTable(value)) {
      Object.assign(given, { password: '' }, value);
    } else if (name === 'asserted') {
      given.asserted = value.how ?? '';
    } else if (name === 'channel') {
      given.channel = value.replace('LOGIN_CHANNEL_', '');
    } else if (name === 'maxAge') {
      given.maxAgeMs = Number(value.replace(/s$/, '')) * 1000;
    } else {
      given[name] = name.endsWith('Time') ? new Date(value) : value;
    }
  }
  return given;
}

/** An answer of the package in proto JSON, with default values written out. */
function toProtobuf(call, answer) {
  if (call === 'CheckElevation') {
    return { elevation: toMessage(answer) };
  }
  return ['Verify', 'Elevate', 'ImportEnrollment'].includes(call)
    ? { recoveryKey: '', ...toMessage(answer ?? {}) }
    : toMessage(answer ?? {});
}

function toMessage(answer) {
  // Secrets are not enumerable.
  const names = Object.getOwnPropertyNames(answer).filter((name) => answer[name] !== undefined);
  return Object.fromEntries(names.map((name) => [name, toJson(name, answer[name])]));
}

function toJson(name, value) {
  if (value instanceof Date) {
    return value.toISOString().replace('.000Z', 'Z');
  }
  if (isTable(value)) {
    return toMessage(value);
  }
  const prefix = { method: 'METHOD_', decision: 'DECISION_' }[name] ?? '';
  return prefix === '' ? value : prefix + value;
}

function difference(expected, answer) {
  for (const [name, value] of Object.entries(expected)) {
    const found = answer?.[name];
    if (!isTable(value)) {
      if (found !== value) {
        return `${name} is not ${value}`;
      }
      continue;
    }
    const [special, wanted] = Object.entries(value).find(([key]) => key.includes('_')) ?? [];
    const inner = special === undefined ? difference(value, found) : !holds(special, wanted, found) && `${special} ${wanted}`;
    if (inner) {
      return `${name}: ${inner}`;
    }
  }
  return undefined;
}

function holds(special, wanted, found) {
  const isSet = found !== undefined && found !== null && found !== '';
  if (special === 'is_set') {
    return isSet === wanted;
  }
  if (special === 'is_not') {
    return isSet && found !== wanted;
  }
  return isSet && Math.abs(new Date(found) - Date.now() - wanted * 1000) <= 5000;
}

/** What every refusal says of its reason, and nothing else. */
function checkRefusal(error) {
  const expected = reasons[error.reason];
  assert(expected, error.reason);
  assert.equal(error.code, expected.grpc);
  assert.equal(error.constructor, classes[error.reason], error.reason);
  assert.equal(error.retryAfterMs !== undefined, expected.retry_after ?? false, error.reason);
  assert.equal(error.fields.length, Number(expected.field ?? false), error.reason);
  assert.match(error.message, /\.$/);
}

function substitute(value, variables) {
  if (typeof value === 'string') {
    return value.replaceAll(/\$\{(.*?)\}/g, (whole, name) => variables[name] ?? whole);
  }
  if (Array.isArray(value)) {
    return value.map((inner) => substitute(inner, variables));
  }
  if (isTable(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, substitute(inner, variables)]));
  }
  return value;
}

function isTable(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function milliseconds(text) {
  const [, number, unit] = /^(\d+)(ms|s|m|h)$/.exec(text);
  return Number(number) * UNITS[unit];
}

function lower(name) {
  return name[0].toLowerCase() + name.slice(1);
}

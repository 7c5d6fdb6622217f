'use strict';

const native = require('./native.js');
const { attempt, broken, closed, unwrap } = require('./errors.js');
const { callOptions, checked, clientOptions, requests, watch } = require('./forms.js');
const { answerCounter, turn } = require('./turns.js');

const NONE = Object.freeze({});

class Client {
  #native;
  #address;
  #answered;
  #underway = 0;
  #watches = new Set();
  #isClosed = false;
  #becomeIdle;
  #idle = new Promise((resolve) => {
    this.#becomeIdle = resolve;
  });

  constructor(options = {}) {
    const { tls = {}, ...given } = checked(clientOptions, options);
    given.address ??= process.env.TWINLOCK_ADDRESS || undefined;
    given.token ??= process.env.TWINLOCK_TOKEN || undefined;
    this.#address = given.address ?? 'http://127.0.0.1:6238';
    const { ca: tlsCa, cert: tlsCertificate, key: tlsKey } = tls;
    const connection = attempt(() => native.connect({ ...given, tlsCa, tlsCertificate, tlsKey }));
    this.#native = connection;
    this.#answered = answerCounter((answers) => connection.turned(answers));
  }

  get address() {
    return this.#address;
  }

  watchEvents(request = NONE, options = NONE) {
    const { signal, timeoutMs } = checked(callOptions, options);
    this.#refuseIfClosed();
    const source = this.#native.watchEvents(checked(watch, request), timeoutMs);
    const events = new EventWatch(source, signal, () => this.#watches.delete(events));
    this.#watches.add(events);
    return events;
  }

  async close() {
    if (!this.#isClosed) {
      this.#isClosed = true;
      await Promise.all([...this.#watches].map((events) => events.return()));
      this.#settle(0);
      await this.#idle;
      this.#native.close();
    }
    await this.#idle;
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }

  #settle(calls) {
    this.#underway -= calls;
    if (this.#isClosed && this.#underway === 0) {
      this.#becomeIdle();
    }
  }

  #refuseIfClosed() {
    if (this.#isClosed) {
      throw closed();
    }
  }

  async #call(method, request, options) {
    this.#refuseIfClosed();
    const { signal, timeoutMs } = options === NONE ? NONE : checked(callOptions, options);
    const fields = checked(requests[method], request);
    signal?.throwIfAborted();
    this.#underway += 1;
    try {
      const wait = turn();
      if (wait !== undefined) {
        await wait;
      }
      const start = (cancellation) => this.#native[method](fields, timeoutMs, cancellation).finally(this.#answered);
      return answerOf(await cancellable(signal, start));
    } finally {
      this.#settle(1);
    }
  }

  static {
    for (const method of Object.keys(requests)) {
      const call = {
        [method](request = NONE, options = NONE) {
          return this.#call(method, request, options);
        },
      };
      Object.defineProperty(this.prototype, method, { value: call[method], configurable: true, writable: true });
    }
  }
}

/** What happens, as it happens; ends with the client, with its signal, and with the loop that reads it. */
class EventWatch {
  #native;
  #signal;
  #ended;
  #closing = new AbortController();
  #missedEvents;
  #last = Promise.resolve();

  constructor(source, signal, ended) {
    this.#native = source;
    const { signal: closing } = this.#closing;
    this.#signal = signal === undefined ? closing : AbortSignal.any([signal, closing]);
    this.#ended = ended;
  }

  get missedEvents() {
    return this.#missedEvents;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    const part = this.#last.then(() => this.#next());
    // One after the other, whatever became of the one before.
    this.#last = part.catch(() => {});
    return part;
  }

  async [Symbol.asyncDispose]() {
    await this.return();
  }

  async return(value) {
    await this.#end();
    return { done: true, value };
  }

  async #end() {
    this.#closing.abort();
    this.#ended();
    await this.#native.close();
  }

  async #next() {
    const { signal: closing } = this.#closing;
    try {
      if (!closing.aborted) {
        const next = (cancellation) => this.#native.next(cancellation);
        const { event, missedEvents } = await cancellable(this.#signal, next);
        this.#missedEvents = missedEvents;
        if (event !== undefined) {
          return { done: false, value: answerOf(event) };
        }
      }
    } catch (error) {
      // Whoever closes the watch does not want to hear that it is closed.
      if (!closing.aborted) {
        await this.#end();
        throw error;
      }
    }
    this.#ended();
    return { done: true, value: undefined };
  }
}

/** The answer to a call that ends early when the signal says so. */
async function cancellable(signal, start) {
  if (signal === undefined) {
    return unwrap(await promise(() => start(undefined)));
  }
  signal.throwIfAborted();
  const cancellation = new native.Cancellation();
  const cancel = () => cancellation.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const outcome = await promise(() => start(cancellation));
    // An answer that came in time is not thrown away: it may hold a recovery key.
    if (outcome === null) {
      throw signal.reason;
    }
    return unwrap(outcome);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

async function promise(start) {
  try {
    return await start();
  } catch {
    throw broken();
  }
}

const HIDDEN = new Set(['secret', 'otpauthUri', 'qrSvg', 'recoveryKey']);

/** The answer with dates for times, and with secrets that are only told to who asks for them by name. */
function answerOf(answer) {
  if (typeof answer !== 'object') {
    return answer;
  }
  const names = Object.keys(answer);
  if (names.length === 0) {
    return undefined;
  }
  for (const name of names) {
    const value = answer[name];
    if (HIDDEN.has(name)) {
      Object.defineProperty(answer, name, { get: () => value, enumerable: false });
    } else if (typeof value === 'number' && /(Time|Until)$/.test(name)) {
      answer[name] = new Date(value);
    } else if (typeof value === 'object' && value !== null) {
      answerOf(value);
    }
  }
  return answer;
}

module.exports = { Client };

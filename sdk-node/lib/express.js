'use strict';

const { TwinlockError } = require('./errors.js').classes;
const http = require('./http.js');

function secondStep(options) {
  return guard(http.secondStep(options));
}

function elevationRequired(options) {
  return guard(http.elevationRequired(options));
}

function errorHandler(options) {
  const { onRefused, log } = http.handling(options, (error) => console.error(error));
  return (error, request, response, next) => {
    if (!(error instanceof TwinlockError) || response.headersSent) {
      next(error);
      return;
    }
    const { status, headers, body } = http.answer(error, request, log);
    response.status(status).set(headers);
    if (onRefused === undefined) {
      response.json(body);
      return;
    }
    // Express 4 knows nothing of promises.
    (async () => onRefused({ status, ...body }, request, response))().catch(next);
  };
}

/** Goes on after the work, and nowhere where it failed. Express 4 knows nothing of promises. */
function guard(work) {
  return (request, response, next) => {
    work(request).then(() => next(), next);
  };
}

module.exports = { elevationRequired, errorHandler, secondStep };

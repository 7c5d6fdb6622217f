'use strict';

const { TwinlockError } = require('./errors.js').classes;
const http = require('./http.js');

const { elevationRequired, secondStep } = http;

function errorHandler(options) {
  const { onRefused, log } = http.handling(options, (error, request) => request.log.error(error));
  return (error, request, reply) => {
    // To throw it is to leave it to the handler around this one.
    if (!(error instanceof TwinlockError)) {
      throw error;
    }
    const { status, headers, body } = http.answer(error, request, log);
    reply.code(status).headers(headers);
    return onRefused === undefined ? reply.send(body) : onRefused({ status, ...body }, request, reply);
  };
}

module.exports = { elevationRequired, errorHandler, secondStep };

'use strict';

const { TwinlockError } = require('./errors.js').classes;
const http = require('./http.js');

function secondStep(options) {
  return async (request) => http.secondStep(options, request);
}

function elevationRequired(options) {
  return async (request) => http.elevationRequired(options, request);
}

function errorHandler({ onRefused } = {}) {
  return (error, request, reply) => {
    // To throw it is to leave it to the handler around this one.
    if (!(error instanceof TwinlockError)) {
      throw error;
    }
    const { status, headers, body } = http.answer(error);
    reply.code(status).headers(headers);
    return onRefused === undefined ? reply.send(body) : onRefused({ status, ...body }, request, reply);
  };
}

module.exports = { elevationRequired, errorHandler, secondStep };

import fastify from './fastify.js';

export const { elevationRequired, errorHandler, secondStep } = fastify;

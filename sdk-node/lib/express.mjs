import express from './express.js';

export const { elevationRequired, errorHandler, secondStep } = express;

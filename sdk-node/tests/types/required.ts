// The same package, required by a CommonJS module.

import { Client, totp } from 'twinlock';
import twinlock = require('twinlock');
import middleware = require('twinlock/express');

const client: Client = new twinlock.Client();
const step: number = totp.verify('s', 'c');
export const handlers = [middleware.errorHandler(), client, step];

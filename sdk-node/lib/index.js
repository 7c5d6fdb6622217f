'use strict';

const { Backoff } = require('./backoff.js');
const { Client } = require('./client.js');
const { classes } = require('./errors.js');
const recovery = require('./recovery.js');
const totp = require('./totp.js');

module.exports = { Backoff, Client, recovery, totp, ...classes };

'use strict';

const { Client } = require('./client.js');
const { classes } = require('./errors.js');
const recovery = require('./recovery.js');
const totp = require('./totp.js');

module.exports = { Client, recovery, totp, ...classes };

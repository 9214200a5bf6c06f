#!/usr/bin/env node
'use strict';
// Committed as JavaScript so that npm can link the command before the library is compiled.
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const cli = join(__dirname, '..', 'dist', 'cli.js');
if (!existsSync(cli)) {
  console.error('alignbook: the library is not compiled yet; run "npm run setup" first');
  process.exit(1);
}
require(cli);

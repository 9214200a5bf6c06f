#!/usr/bin/env node
'use strict';
// Committed as JavaScript so that npm can link the command before the library is compiled.
const { existsSync } = require('node:fs');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

const cli = join(__dirname, '..', 'dist', 'cli.js');
if (!existsSync(cli)) {
  console.error('alignbook: the library is not compiled yet; run "npm run setup" first');
  process.exit(1);
}
// Where the package is installed, set-up comes with it: the library cannot be loaded before it has run.
const setup = join(__dirname, '..', 'setup', 'package.mjs');
if (process.argv[2] === 'setup' && existsSync(setup)) {
  void import(pathToFileURL(setup).href).then(async ({ main }) => {
    process.exitCode = await main(process.argv.slice(3));
  });
} else {
  require(cli);
}

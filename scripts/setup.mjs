// @ts-check
// Set-up, with Node's built-ins only. This file runs on any Node with ES modules, to say so where it is too old.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Node 20.19 or newer is needed; this is Node ${process.versions.node} (${process.execPath}).`);
  console.error('Install a current one from https://nodejs.org, or with a version manager: nvm install 22');
  process.exitCode = 1;
} else {
  const { main } = await import('./setup/main.mjs');
  process.exitCode = await main(process.argv.slice(2));
}

// @ts-check
/** `npm run lab`: JupyterLab on the first notebook, with the project's environment only. */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';

import { jupyterEnv, paths, pythonOf, root } from './setup/paths.mjs';

const usage = `Usage: npm run lab -- [OPTION…]

Opens JupyterLab on the first notebook and prints its address, which carries the token that it asks for.
Options are JupyterLab's own, such as --no-browser, --port=8889, --ip=0.0.0.0. Ctrl-C twice ends it.`;

/**
 * MODEL for the kernels, which run in notebooks/: a folder is given relative to where the command runs.
 * @param {NodeJS.ProcessEnv} env
 */
function withModel(env) {
  const folder = resolve(process.env['INIT_CWD'] ?? '.', env['MODEL'] ?? '');
  return env['MODEL'] && env['MODEL'] !== 'tiny' && statSync(folder, { throwIfNoEntry: false })?.isDirectory()
    ? { ...env, MODEL: folder }
    : env;
}

const args = process.argv.slice(2);
if (args.includes('--help') || args.includes('-h')) {
  console.log(usage);
} else {
  const offline = [
    '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate',
    '--LabApp.news_url=None',
    '--LabApp.extension_manager=readonly',
  ];
  // The project is the root, so that the notebooks' links to its other folders open in JupyterLab too.
  const place = [`--ServerApp.root_dir=${root}`, '--LabApp.default_url=/lab/tree/notebooks/01-tokenize.ipynb'].filter(
    (option) => !args.some((given) => given.startsWith(option.replace(/=.*/, '='))),
  );
  // Jupyter refuses to run as root, which is what rented GPU machines and some containers have; what only this machine
  // reaches, and only with the token, may.
  const isLocal = args.every((arg) => !arg.startsWith('--ip') || /^--ip=(127\.0\.0\.1|localhost|::1)$/.test(arg));
  const asRoot = process.getuid?.() === 0 && isLocal ? ['--allow-root'] : [];
  const lab = spawn(pythonOf(paths.python), ['-m', 'jupyterlab', ...place, ...offline, ...asRoot, ...args], {
    cwd: root,
    env: withModel(jupyterEnv()),
    stdio: 'inherit',
  });
  lab.on('error', () => {
    console.error('JupyterLab is not installed here; run "npm run setup"');
    process.exitCode = 1;
  });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    // a terminal's Ctrl-C reaches JupyterLab by itself
    process.on(signal, () => (signal !== 'SIGINT' || !process.stdin.isTTY) && lab.kill(signal));
  }
  lab.on('exit', (code) => (process.exitCode = code ?? 1));
}

// @ts-check
/** Set-up's steps that depend on the platform, run in the arm64 system of arm64.test.ts: all but JupyterLab and tsc. */
import { addon } from '../../../scripts/setup/addon.mjs';
import { npm } from '../../../scripts/setup/npm.mjs';
import { paths } from '../../../scripts/setup/paths.mjs';
import { pipAlone } from '../../../scripts/setup/python.mjs';
import { runSteps } from '../../../scripts/setup/steps.mjs';
import { tensorflow } from '../../../scripts/setup/tensorflow.mjs';
import { tokenizer } from '../../../scripts/setup/tokenizer.mjs';

await runSteps([npm, pipAlone, tensorflow, addon, tokenizer], { folder: paths.made });

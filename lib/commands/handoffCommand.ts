/** `alignbook handoff`: writes a folder for TRL, or checks the steps that came back. */
import { FileError, InputError } from '../errors';
import { mayReplace } from '../formats/replace';
import { compareTrajectory, comparisonText } from '../handoff/compare';
import { writeHandoff, type Handoff } from '../handoff/write';
import { withDefaults, type OptionsOf } from '../training/declare';
import { UsageError } from './commandLine';
import { handoffSettings } from './commandSettings';
import { grpoInputs } from './handoffGrpo';
import { handoffInputs } from './handoffInputs';
import { statusLine } from './terminal';
import { trainingOf } from './trainCommands';
import { version } from './version';

export async function run(settings: OptionsOf<typeof handoffSettings>): Promise<void> {
  const { config, out, check, against, kind, steps } = settings;
  const writes = [config, out, kind, steps].some((value) => value !== undefined);
  const checks = [check, against].some((value) => value !== undefined);
  if (writes && checks) throw new UsageError('handoff either writes (--config, --out) or checks (--check, --against)');
  if (kind === 'ppo')
    throw new InputError(
      'kind ppo: TRL has had no PPO trainer since 1.12; train on one machine by train-ppo, or give a train-grpo file ' +
        "and --kind grpo, for TRL's GRPO",
    );
  if (check !== undefined && against !== undefined) return checked(check, against);
  const { kind: handed, steps: compare } = withDefaults({ kind, steps }, handoffSettings);
  if (config !== undefined && out !== undefined) return handedOver(config, out, handed, compare);
  throw new UsageError('handoff needs --config and --out, or --check and --against');
}

/** Writes the folder to hand over. */
async function handedOver(config: string, out: string, kind: Handoff['kind'], compare: number): Promise<void> {
  mayReplace(out, {});
  const values = valuesIn(config, kind, out);
  const inputs = await (kind === 'grpo' ? grpoInputs(values) : handoffInputs(kind, values));
  for (const note of inputs.notes) console.log(`note: ${note}`);
  // `exit` removes what is half-written
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)
    process.once(signal, () => {
      statusLine('');
      console.error('interrupted; nothing was written');
      process.exit(status);
    });
  await writeHandoff(out, { ...inputs, version: version() }, async () => {
    const steps: object[] = [];
    for await (const step of inputs.train()) {
      steps.push(step);
      statusLine(`step ${steps.length} of the ${compare} to compare`);
      if (steps.length >= compare) break;
    }
    statusLine('');
    return steps;
  });
  console.log(`${out} is ready; its README.md says how to start it`);
}

/** @throws FileError, on one line, if the file is not the config of a whole training. */
function valuesIn(config: string, kind: Handoff['kind'], output: string): Record<string, unknown> {
  try {
    return trainingOf(kind, { config, output });
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof FileError)) throw error;
    const said = error.message.replace(/\n */g, '; ').replace(':; ', ': ');
    if (error instanceof FileError) throw new FileError(config, said.replace(`${error.path}: `, ''), { cause: error });
    throw new FileError(config, `is not a whole training: ${said}; add them as fields of the file`, { cause: error });
  }
}

/** Prints the comparison. The exit status is 1 if a difference exceeds its bound. */
function checked(trajectory: string, folder: string): void {
  const comparison = compareTrajectory(trajectory, folder);
  console.log(comparisonText(comparison));
  if (!comparison.passes) process.exitCode = 1;
}

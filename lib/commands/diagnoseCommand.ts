/** `alignbook diagnose`: says what looks wrong in the metrics of runs, and compares several. */
import { FileError, InputError, together } from '../errors';
import type { OptionsOf } from '../training/declare';
import { diagnoseRecord } from '../training/diagnosis';
import { comparisonLines, diagnosisLines } from '../training/diagnosisText';
import type { diagnoseSettings } from './commandSettings';
import { readRun } from './readRun';
import { statusLine } from './terminal';

/** @throws InputError naming every run that cannot be read, after those that can. */
export async function run({ runs, json }: OptionsOf<typeof diagnoseSettings>): Promise<void> {
  const read = [];
  const problems: Error[] = [];
  for (const name of runs) {
    try {
      statusLine(`reading ${name}`);
      const { record, notes } = await readRun(name);
      read.push({ name, record, notes, diagnosis: diagnoseRecord(record) });
    } catch (error) {
      if (!(error instanceof FileError || error instanceof InputError)) throw error;
      problems.push(error);
    }
    statusLine('');
  }
  if (json === true)
    console.log(
      JSON.stringify(
        read.map(({ name, notes, diagnosis }) => ({ run: name, ...diagnosis, notes })),
        null,
        2,
      ),
    );
  else {
    read.forEach(({ name, notes, diagnosis }, n) => {
      if (n > 0) console.log('');
      for (const line of diagnosisLines(diagnosis, name, notes)) console.log(line);
    });
    if (read.length > 1) for (const line of ['', ...comparisonLines(read)]) console.log(line);
  }
  if (problems.length === 1) throw problems[0]!;
  if (problems.length > 1) throw new InputError(together(problems.map(({ message }) => message)));
}

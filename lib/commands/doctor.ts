import { diagnose } from '../doctor';
import { UsageError } from './usage';

export const usage =
  '  doctor              what is installed, which device computes, what is missing and how to get it';

export function run(args: readonly string[]): void {
  if (args.length > 0) throw new UsageError('doctor takes no arguments');
  const { lines, healthy } = diagnose();
  const width = Math.max(...lines.map(([what]) => what.length));
  for (const [what, how] of lines) console.log(`${what.padEnd(width)}  ${how}`);
  if (!healthy) process.exitCode = 1;
}

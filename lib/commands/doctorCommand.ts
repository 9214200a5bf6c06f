/** `alignbook doctor`: prints what is installed. */
import { diagnose } from '../doctor';

export function run(): void {
  const { lines, healthy } = diagnose();
  const width = Math.max(...lines.map(([what]) => what.length));
  for (const [what, how] of lines) console.log(`${what.padEnd(width)}  ${how}`);
  if (!healthy) process.exitCode = 1;
}

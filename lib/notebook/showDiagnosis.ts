/** Prints below a cell what a diagnosis found. */
import type { Diagnosis } from '../training/diagnosis';
import { diagnosisLines } from '../training/diagnosisText';

/**
 * Prints a diagnosis: what was found, with its numbers and what to try; what was fine; and what could not be checked.
 * The command `npx alignbook diagnose RUN` prints the same lines.
 *
 *     showDiagnosis(diagnose(history, options));
 */
export function showDiagnosis(diagnosis: Diagnosis): void {
  for (const line of diagnosisLines(diagnosis)) console.log(line);
}

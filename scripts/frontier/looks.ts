import type { Point, Task } from './method';

/**
 * Runs a training and evaluates the policy before it and after each step in `looks`; the last of these steps ends the
 * training.
 */
export async function* along(
  task: Task,
  training: AsyncIterable<{ readonly step: number }>,
  looks: readonly number[],
): AsyncGenerator<Point, void> {
  const steps = looks.at(-1)!;
  yield task.measure(0);
  for await (const { step } of training) {
    task.onProgress(step / steps);
    if (looks.includes(step)) yield task.measure(step);
  }
}

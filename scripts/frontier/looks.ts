import type { Point, Task } from './method';

/**
 * Goes through a training, and looks at the policy before it and after the steps of `looks`, the last of which is the
 * end.
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

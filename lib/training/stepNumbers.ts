/** The numbers of a training step by name: what metrics.jsonl, TensorBoard and a diagnosis have in common. */

/** Groups within groups, as in validation/rewards/chosen. */
const DEEPEST = 3;

/**
 * The numbers of a step by name, such as `loss` or `rewards/chosen`. Lists, such as a step's updates, are omitted, and
 * so is what is nested more deeply than any trainer's metrics.
 */
export function flat(metrics: object, prefix = '', deepest = DEEPEST): Map<string, number> {
  return new Map(
    Object.entries(metrics).flatMap(([name, value]) => {
      if (typeof value === 'number') return [[prefix + name, value] as const];
      return typeof value === 'object' && value !== null && !Array.isArray(value) && deepest > 1
        ? [...flat(value as object, `${prefix}${name}/`, deepest - 1)]
        : [];
    }),
  );
}

/** Whether two results agree: numbers within the relative tolerance, and lists and objects whose numbers do. */
export function near(one: unknown, other: unknown, tolerance: number): boolean {
  if (typeof one === 'number' && typeof other === 'number') return Math.abs(one - other) <= tolerance * Math.abs(other);
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return one === other;
  const [names, others] = [Object.keys(one), Object.keys(other)];
  return (
    names.length === others.length && names.every((name) => near(one[name as never], other[name as never], tolerance))
  );
}

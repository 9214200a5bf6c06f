/** The known name that a mistyped one is nearest to. */

/** The known name with the fewest changed letters, at most a third of them; dashes and capitals do not count. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  const distances = known.map((each) => distance(plain(name), plain(each)));
  const least = Math.min(...distances);
  const most = Math.max(1, Math.floor(plain(name).length / 3));
  return least <= most
    ? known[distances.indexOf(least)]
    : known.find((each) => plain(name).length > 2 && plain(each).startsWith(plain(name)));
}

/** The end of a message about an unknown name: "; did you mean NAME?", or nothing if no known name is near. */
export function didYouMean(name: string, known: readonly string[], prefix = ''): string {
  const found = nearest(name, known);
  return found === undefined ? '' : `; did you mean ${prefix}${found}?`;
}

/** Letters to insert, remove, replace or swap with their neighbor (optimal string alignment). */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2]![j - 2]! + 1 : Infinity;
      row.push(Math.min(row[j - 1]! + 1, rows[i - 1]![j]! + 1, rows[i - 1]![j - 1]! + same, swapped));
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** Plain text tables: numbers aligned right, text aligned left. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], total: readonly string[]): string {
  const all = [head, ...rows, total];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const isNumber = head.map((_, column) => rows.every((row) => /^[\d.]+( of \d+| %)?$/.test(row[column]!)));
  const line = (row: readonly string[]) =>
    row
      .map((text, i) => (isNumber[i] ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return [line(head), rule, ...rows.map(line), rule, line(total)].join('\n');
}

/** Joins consecutive numbers into ranges: "In 1-11, 13" and "PPO 1-3". */
export function sourceRanges(sources: readonly string[]): string {
  const runs: { kind: string; from: number; to: number }[] = [];
  for (const source of sources) {
    const [kind, n] = source.split(' ') as [string, string];
    const last = runs.at(-1);
    if (last?.kind === kind && last.to + 1 === Number(n)) last.to += 1;
    else runs.push({ kind, from: Number(n), to: Number(n) });
  }
  return runs
    .map(
      ({ kind, from, to }, i) =>
        `${runs[i - 1]?.kind === kind ? '' : `${kind} `}${from === to ? from : `${from}-${to}`}`,
    )
    .join(', ');
}

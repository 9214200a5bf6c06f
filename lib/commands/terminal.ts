/** Shows a command's status on a terminal while it works. */

/** Writes one line to standard error over the previous one if it is a terminal; otherwise writes nothing. */
export function statusLine(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** Formats a time in milliseconds as "42 s" or "3 min 5 s". */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 100 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

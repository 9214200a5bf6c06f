/** The caller's input is wrong: a shape, a row, a field, an option. The message says which, and how to fix it. */
export class InputError extends Error {
  override readonly name: string = 'InputError';
}

/** A file is malformed or does not fit its purpose. The message begins with the file's path. */
export class FileError extends Error {
  override readonly name: string = 'FileError';

  constructor(
    readonly path: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${path}: ${reason}`, options);
  }
}

/** Something that set-up provides is missing or does not load. The message names the command that fixes it. */
export class SetupError extends Error {
  override readonly name: string = 'SetupError';
}

/** The Hugging Face hub cannot be reached, or refuses a request. The message says how to fix it. */
export class HubError extends Error {
  override readonly name: string = 'HubError';
}

/** Text from a file, for a message of one line: a name of ten thousand characters would hide the reason. */
export const clipped = (text: string): string => (text.length <= 100 ? text : `${text.slice(0, 100)}…`);
export const quoted = (text: string): string => clipped(JSON.stringify(text));
/** A number with its noun: "1 step", "3 steps", "2 batches" for `plural(2, 'batch', 'batches')`. */
export const plural = (count: number | bigint, noun: string, nouns = `${noun}s`): string =>
  `${count} ${Number(count) === 1 ? noun : nouns}`;
/** Several problems in one message: one line each, below a line that counts them. One problem is its own message. */
export const together = (problems: readonly string[]): string =>
  problems.length === 1 ? problems[0]! : [`${problems.length} problems:`, ...problems].join('\n  ');
/** Another program's or a user's own error, as part of a message: on one line and of limited length. */
export const oneLine = (said: unknown): string => {
  const text = (said instanceof Error ? said.message : String(said)).replace(/\s+/g, ' ').trim();
  return text.length <= 500 ? text : `${text.slice(0, 500)}…`;
};

/** Names with commas between them; beyond `most`, how many more there are. */
export function listed(names: readonly (string | number)[], most: number): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

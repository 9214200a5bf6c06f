import { homedir } from 'node:os';

/**
 * A path with the home folder in place of a `~` at its beginning, as a shell writes it where the `~` stands behind a
 * space, but not behind `=`, nor in a file.
 */
export const expandHome = (path: string): string => path.replace(/^~(?=[\\/]|$)/, homedir());

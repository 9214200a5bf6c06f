import { homedir } from 'node:os';

/**
 * Replaces a `~` at the beginning of a path by the home folder. A shell does so only where the `~` follows a space, so
 * not after `=` and not in a file.
 */
export const expandHome = (path: string): string => path.replace(/^~(?=[\\/]|$)/, homedir());

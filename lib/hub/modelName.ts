/** Parses a model's name: the embedded model, a folder, or a repository on the Hugging Face hub. */
import { statSync } from 'node:fs';
import { homedir } from 'node:os';
import { resolve } from 'node:path';

import { InputError, quoted } from '../errors';

export type ModelName =
  | { readonly kind: 'embedded' }
  | { readonly kind: 'folder'; readonly folder: string }
  | {
      readonly kind: 'hub';
      /** `gpt2`, or `organization/name`. */
      readonly repository: string;
      /** A branch, a tag, or a commit of 40 hexadecimal digits. */
      readonly revision: string;
    };

/**
 * The same rule as huggingface_hub's `validate_repo_id`: the cache folder is named after the repository, with `--` for
 * `/`.
 */
export const REPOSITORY = /^(?!.*(--|\.\.))(?!.*\.git$)(\w[\w.-]{0,95}\/)?\w([\w.-]{0,94}\w)?$/;

/**
 * The names that git allows, except those with rare characters. A segment that begins with a dot could lead out of the
 * cache's folder.
 */
export const REVISION = /^(?!.*\.\.)\w[\w.+-]*(\/\w[\w.+-]*)*$/;

export const COMMIT = /^[0-9a-f]{40}$/;

/**
 * @param model `tiny`; a folder, recognized by its form (`./gpt2`, `/models/gpt2`, `~/gpt2`) or because it exists, even
 *   if the hub has a model of that name; or a hub name such as `gpt2`, with `@` before a revision other than `main`:
 *   `gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e`.
 * @throws InputError if the name is none of these.
 */
export function parseModelName(model: string): ModelName {
  if (model === 'tiny') return { kind: 'embedded' };
  const path = expandHome(model);
  if (path !== model || model === '.' || model === '..' || /^(\.{0,2}|[A-Za-z]:)[\\/]/.test(model) || isFolder(model))
    return { kind: 'folder', folder: resolve(path) };

  const at = model.indexOf('@');
  const repository = at < 0 ? model : model.slice(0, at);
  const revision = at < 0 ? 'main' : model.slice(at + 1);
  if (!REPOSITORY.test(repository)) {
    throw new InputError(
      `${quoted(model)} is neither a model's name, such as gpt2 or openai-community/gpt2, nor a folder, such as ` +
        './my-model',
    );
  }
  if (!REVISION.test(revision))
    throw new InputError(`${quoted(model)}: write a branch, a tag or a commit after the @, not ${quoted(revision)}`);
  return { kind: 'hub', repository, revision };
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/**
 * Replaces a `~` at the beginning of a path by the home folder. A shell does so only where the `~` follows a space, so
 * not after `=` and not in a file.
 */
export const expandHome = (path: string): string => path.replace(/^~(?=[\\/]|$)/, homedir());

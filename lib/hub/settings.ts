/** The environment variables of Python's huggingface_hub, interpreted in the same way and read at each use. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { expandHome } from './modelName';

export interface HubSettings {
  /**
   * The folder that contains `models--…`: HF_HUB_CACHE, otherwise HF_HOME/hub, otherwise huggingface/hub in
   * XDG_CACHE_HOME or ~/.cache.
   */
  readonly cache: string;
  /** HF_ENDPOINT without a trailing slash. Default: https://huggingface.co. */
  readonly endpoint: string;
  /**
   * HF_TOKEN, otherwise the token that `hf auth login` wrote to HF_TOKEN_PATH or HF_HOME/token. Null if there is none.
   */
  readonly token: string | null;
  /** True if HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is 1, on, yes or true: no requests are made. */
  readonly offline: boolean;
}

export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const home = expandHome(env['HF_HOME'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'huggingface'));
  return {
    cache: expandHome(env['HF_HUB_CACHE'] || env['HUGGINGFACE_HUB_CACHE'] || join(home, 'hub')),
    endpoint: (env['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, ''),
    token:
      clean(env['HF_TOKEN'] || env['HUGGING_FACE_HUB_TOKEN']) ??
      clean(contents(expandHome(env['HF_TOKEN_PATH'] || join(home, 'token')))),
    offline: /^(1|on|yes|true)$/i.test(env['HF_HUB_OFFLINE'] || env['TRANSFORMERS_OFFLINE'] || ''),
  };
}

/** Removes a line ending copied with the token; an empty token becomes null. */
function clean(token: string | undefined): string | null {
  return token?.replace(/[\r\n]/g, '').trim() || null;
}

function contents(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // no one has logged in here
  }
}

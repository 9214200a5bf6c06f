/** The PyTorch that gpu:check compares with. */
import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';

/** The environment of every Python process of the check. */
export const PYTHON_ENV = {
  PYTHONWARNINGS: 'ignore',
  TRANSFORMERS_VERBOSITY: 'error',
  TQDM_DISABLE: '1',
  HF_HUB_OFFLINE: '1',
  PYTHONDONTWRITEBYTECODE: '1',
  OMP_NUM_THREADS: `${availableParallelism()}`,
};

export interface PyTorch {
  readonly device: 'cuda' | 'cpu';
  /** Whether TRL is there, too. */
  readonly trl: boolean;
}

/**
 * Null if PyTorch, transformers or safetensors is missing. Importing PyTorch from a cold disk takes the longest, so
 * this starts before step 1.
 */
export async function findPyTorch(python: string): Promise<PyTorch | null> {
  const code = `
import json, torch, transformers, safetensors
from importlib.util import find_spec
trl = all(find_spec(name) for name in ("trl", "datasets", "accelerate"))
print(json.dumps({"device": "cuda" if torch.cuda.is_available() else "cpu", "trl": trl}))`;
  return new Promise((done) =>
    execFile(python, ['-c', code], { env: { ...process.env, ...PYTHON_ENV } }, (error, stdout) =>
      done(error ? null : parsed(stdout)),
    ),
  );
}

/** Its last line: an import may print others. */
function parsed(stdout: string): PyTorch | null {
  try {
    return JSON.parse(stdout.trim().split('\n').at(-1)!) as PyTorch;
  } catch {
    return null;
  }
}

// @ts-check
/** A C++ compiler: the installed one, or else Zig's, from PyPI. */
import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { paths, pythonOf } from './paths.mjs';
import { platform } from './platform.mjs';
import { pip } from './python.mjs';

const zig = join(paths.zig, 'ziglang', 'zig');

/** The installed compiler; undefined if there is none. */
export function installedCompiler() {
  const names = [process.env.CXX, 'g++', 'c++', 'clang++'].filter((name) => name !== undefined);
  return names.find((name) => spawnSync(name, ['--version']).status === 0);
}

/**
 * @param {(text: string) => void} progress
 * @returns {Promise<{ program: string, args: string[], env: NodeJS.ProcessEnv }>}
 */
export async function compiler(progress) {
  const program = installedCompiler();
  if (program) return { program, args: [], env: process.env };
  if (!existsSync(zig)) {
    progress('no C++ compiler on PATH: fetching ziglang from PyPI');
    const temporary = `${paths.zig}.tmp`;
    rmSync(temporary, { recursive: true, force: true });
    await pip(
      pythonOf(paths.python),
      [
        'install',
        '--require-hashes',
        '--only-binary=:all:',
        '--target',
        temporary,
        '-r',
        join(paths.requirements, 'compiler.txt'),
      ],
      progress,
    );
    renameSync(temporary, paths.zig);
  }
  return {
    program: zig,
    args: ['c++', '-target', platform().zigTarget],
    env: {
      ...process.env,
      ZIG_GLOBAL_CACHE_DIR: join(paths.zig, 'cache'),
      ZIG_LOCAL_CACHE_DIR: join(paths.zig, 'cache'),
    },
  };
}

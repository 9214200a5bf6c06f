/**
 * The addon for macOS on arm64, compiled and linked here by Zig with set-up's own flags against the libraries of
 * TensorFlow's wheel for macOS, and read by LIEF. It cannot be run here. Downloads 330 MB from PyPI; Zig
 * first builds its C++ library for the Mac, which takes minutes.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { root } from '../../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'mac-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The functions of N-API in the version that the addon asks for. */
const { symbols } = require('node-api-headers') as {
  symbols: Record<'v8', Record<'js_native_api_symbols' | 'node_api_symbols', string[]>>;
};
const python = join(root, '.alignbook', 'python', 'bin', 'python');

function ran(program: string, args: readonly string[]): string {
  const cache = { ZIG_GLOBAL_CACHE_DIR: join(folder, 'cache'), ZIG_LOCAL_CACHE_DIR: join(folder, 'cache') };
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    env: { ...cache, ...process.env },
  });
  assert.equal(status, 0, `${program} ${args.slice(0, 4).join(' ')}\n${stderr}${error?.message ?? ''}`);
  return stdout;
}

/** Set-up's choices for the Mac, from its own modules. */
interface Choice {
  readonly wheel: string;
  readonly tag: string;
  readonly libraries: readonly string[];
  readonly zigTarget: string;
  readonly flags: readonly string[];
}
function choice(sources: readonly string[], runPath: string): Choice {
  const from = (name: string) => JSON.stringify(pathToFileURL(join(root, 'scripts', 'setup', `${name}.mjs`)).href);
  const include = [join(root, 'node_modules', 'node-api-headers', 'include')];
  include.push(join(root, '.alignbook', 'tensorflow', 'tensorflow', 'include'));
  const code = `
    import { addonFlags, platform } from ${from('platform')};
    import { version } from ${from('tensorflow')};
    const { cpu, libraries, zigTarget } = platform('darwin arm64');
    const flags = addonFlags({ sources: ${JSON.stringify(sources)}, includes: ${JSON.stringify(include)},
      libraries: libraries.map((file) => 'tensorflow/' + file), runPath: ${JSON.stringify(runPath)} }, 'darwin');
    const wheel = cpu.name + '==' + version + ' --hash=sha256:' + cpu.sha256;
    console.log(JSON.stringify({ wheel, tag: cpu.tag, libraries, zigTarget, flags }));`;
  return JSON.parse(ran(process.execPath, ['--input-type=module', '--eval', code])) as Choice;
}

const READ = `
import json, sys
import lief

kept = []  # a binary is gone with its file

def read(path):
    kept.append(lief.MachO.parse(path))
    return kept[-1].at(0)

addon = read(sys.argv[1])
imports = {}
for symbol in addon.imported_symbols:
    if symbol.has_binding_info:
        bound = symbol.binding_info
        library = bound.library.name if bound.has_library else "any"
    else:  # used by nothing that was kept; its library's number is in n_desc, the addon itself is number 0
        ordinal = symbol.description >> 8
        library = addon.libraries[ordinal].name if ordinal < len(addon.libraries) else "any"
    imports.setdefault(library, []).append(symbol.name.removeprefix("_"))
print(json.dumps({
    "cpu": str(addon.header.cpu_type), "type": str(addon.header.file_type), "signed": addon.has_code_signature,
    "oldest": addon.build_version.minos[:2], "rpaths": [part.path for part in addon.rpaths],
    "exports": [symbol.name.removeprefix("_") for symbol in addon.exported_symbols], "imports": imports,
    # what a library exports again from another one is in its list of exports, too
    "offered": {path.split("/")[-1]: [symbol.name.removeprefix("_") for symbol in read(path).symbols
        if symbol.has_export_info and symbol.name.startswith("_TF")] for path in sys.argv[2:]},
}))
`;

interface Addon {
  readonly cpu: string;
  readonly type: string;
  readonly signed: boolean;
  readonly oldest: readonly number[];
  readonly rpaths: readonly string[];
  readonly exports: readonly string[];
  /** Names by the library in which dyld looks for them; `any` is every loaded one, Node itself too. */
  readonly imports: Readonly<Record<string, readonly string[]>>;
  /** TensorFlow's C functions, by library. */
  readonly offered: Readonly<Record<string, readonly string[]>>;
}

test("the addon for macOS: its functions are Node's, or those of the libraries of TensorFlow's wheel", () => {
  const binding = join(root, 'node_modules', '@tensorflow', 'tfjs-node-gpu', 'binding');
  const operations = join(root, 'scripts', 'setup', 'operations');
  const sources = [binding, operations].flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => file.endsWith('.cc'))
      .map((file) => join(folder, file)),
  );
  const runPath = '../tensorflow';
  const { wheel, tag, libraries, zigTarget, flags } = choice(sources, runPath);

  const pip = (...args: string[]) =>
    ran(python, ['-m', 'pip', '--disable-pip-version-check', ...args, '--quiet', '--only-binary=:all:', '--no-deps']);
  writeFileSync(join(folder, 'wheel.txt'), `${wheel}\n`);
  const target = ['--implementation=cp', '--python-version=3.11', '--abi=cp311', `--platform=${tag}`];
  pip('download', '--require-hashes', ...target, '--dest', folder, '-r', 'wheel.txt');
  pip('install', '--require-hashes', '--target', 'zig', '-r', join(root, 'requirements', 'compiler.txt'));
  pip('install', '--target', 'lief', 'lief==1.0.0');
  const unpack =
    'import sys, zipfile; wheel = zipfile.ZipFile(sys.argv[1]); [wheel.extract(name) for name in sys.argv[2:]]';
  const file = readdirSync(folder).find((name) => name.endsWith('.whl')) ?? assert.fail('no wheel');
  const paths = libraries.map((name) => `tensorflow/${name}`);
  ran(python, ['-c', unpack, file, ...paths]);

  mkdirSync(join(folder, 'addon'));
  const made = join(folder, 'addon', 'tfjs_binding.node');
  ran(join(folder, 'zig', 'ziglang', 'zig'), ['c++', '-target', zigTarget, ...flags, '-o', made]);

  const lief = `import sys; sys.path.insert(0, 'lief')\n${READ}`;
  const addon = JSON.parse(ran(python, ['-c', lief, made, ...paths])) as Addon;
  const { cpu, type, signed, oldest, rpaths, imports, offered } = addon;
  assert.deepEqual(
    { cpu, type, signed, oldest, rpaths },
    {
      cpu: 'CPU_TYPE.ARM64',
      type: 'FILE_TYPE.DYLIB',
      signed: true, // Apple's processors run nothing that is not
      oldest: [12, 0],
      rpaths: [`@loader_path/${runPath}`],
    },
  );
  assert.ok(addon.exports.includes('napi_register_module_v1'));

  const { any = [], '/usr/lib/libSystem.B.dylib': system = [], ...others } = imports;
  const napi = new Set([...symbols.v8.js_native_api_symbols, ...symbols.v8.node_api_symbols]);
  assert.deepEqual(any.filter((name) => !napi.has(name)), []); // prettier-ignore
  assert.ok(system.every((name) => !/^(napi|TF)_/.test(name)));
  assert.deepEqual(Object.keys(others).sort(), libraries.map((name) => `@rpath/${name}`).sort()); // prettier-ignore
  let bound = 0;
  for (const name of libraries)
    for (const symbol of others[`@rpath/${name}`]!) {
      assert.ok(offered[name]!.includes(symbol), `${name} has no ${symbol}`);
      bound += 1;
    }
  console.log(`${any.length} functions of Node, ${bound} of TensorFlow, ${system.length} of macOS`);
});

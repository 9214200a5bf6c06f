/**
 * The functions that tslab takes from its compiler and from Node, replaced so that the compiler reports where a line
 * comes from, and Node calls the script by the cell's name.
 */
import type { SourceMapPayload } from 'node:module';
import { join } from 'node:path';
import vm from 'node:vm';

import type ts from 'typescript5';

import { nameOf, type Steps } from './compiled';
import { ACCESSORS, withAccessors, type Names } from './names';
import { LIBRARIES, mendable } from './typescript';

/** Takes what the compiler knows of the cell that it compiles. */
export interface Findings {
  readonly program: (current: () => ts.Program) => void;
  readonly names: (names: Names) => void;
  readonly steps: (steps: Steps) => void;
}

/**
 * Call this before tslab makes its converter.
 *
 * @param options `strict`: whether cells are compiled with TypeScript's `strict`; `root`: the folder with the packages
 *   that every notebook can import.
 */
export function instrumentCompiler(
  { strict, root }: { readonly strict: boolean; readonly root: string },
  found: Findings,
): void {
  const { createWatchCompilerHost, createWatchProgram, transpileModule } = mendable;
  const mended = mendable as {
    createWatchCompilerHost: unknown;
    createWatchProgram: unknown;
    transpileModule: unknown;
  };
  mended.createWatchProgram = (host: Parameters<typeof createWatchProgram>[0]) => {
    const watch = createWatchProgram(host);
    found.program(() => watch.getProgram().getProgram());
    return watch;
  };
  mended.createWatchCompilerHost = (files: string[], options: ts.CompilerOptions, system: ts.System, ...others: []) => {
    const host = createWatchCompilerHost(
      files,
      { ...options, strict, lib: [...LIBRARIES], experimentalDecorators: false, inlineSourceMap: true },
      withTimers(system),
      ...others,
    );
    // Each import of a file is resolved only once. Otherwise, each cell would resolve the imports of the library's
    // 500 files again, which takes more than a second.
    return { ...host, resolveModuleNameLiterals: resolver(host, root), hasInvalidatedResolutions: () => false };
  };
  mended.transpileModule = (module: string, options: ts.TranspileOptions): ts.TranspileOutput => {
    const [written, toModule] = withoutMap(module);
    const ofCell = toModule?.sources.some((name) => name.endsWith('__tslab__.ts'));
    const {
      module: code,
      names,
      was,
    } = ofCell ? withAccessors(written) : { module: written, names: undefined, was: undefined };
    if (names) found.names(names);
    const output = transpileModule(code, {
      ...options,
      compilerOptions: { ...options.compilerOptions, sourceMap: true },
    });
    const script = withoutMap(output.outputText)[0].replace(STRICT, (line) => ' '.repeat(line.length));
    if (toModule && was)
      found.steps({
        toModule,
        was,
        toScript: JSON.parse(output.sourceMapText!) as SourceMapPayload,
        scriptLines: script.split('\n').length,
      });
    return { ...output, outputText: script };
  };
}

/** The cell whose script runs next. */
export interface RunningCell {
  readonly count: number;
  /** Whether it awaits something outside its functions. */
  readonly awaits: boolean;
  readonly stopped: boolean;
  readonly hasNames: boolean;
}

/** Lets Node run scripts by their cells' names, each in a turn of its own. */
export function instrumentScripts(running: () => RunningCell): void {
  const { runInThisContext } = vm;
  vm.runInThisContext = (code: string, options?: vm.RunningScriptOptions | string) => {
    const wrapped = /^\((async )?function\(exports, require\) \{ /.exec(code);
    if (!wrapped || typeof options === 'string') return runInThisContext(code, options);
    const { count, awaits, hasNames } = running();
    // In a turn of its own, so that the kernel continues if this code is ended from outside (stop.ts); `interrupt`
    // then settles the promise that tslab awaits.
    const head =
      `(${awaits ? 'async ' : ''}function(exports, require) { ` +
      `${hasNames ? `__tslab__.accessors = ${ACCESSORS}; ` : ''}`;
    const script = {
      ...options,
      breakOnSigint: false,
      filename: nameOf(count),
      columnOffset: -head.length,
      displayErrors: false,
    };
    return new Promise((resolve, reject) => {
      setImmediate(() => {
        if (running().stopped) return;
        try {
          resolve(runInThisContext(head + code.slice(wrapped[0].length), script));
        } catch (error) {
          reject(error);
        }
      });
    });
  };
}

/**
 * A notebook in another folder can still import the collection's packages; NODE_PATH leads Node to them (see
 * kernelspec.mjs).
 */
function resolver(host: ts.ModuleResolutionHost, root: string): ts.CompilerHost['resolveModuleNameLiterals'] {
  const resolve = (name: string, from: string, options: ts.CompilerOptions) =>
    mendable.resolveModuleName(name, from, options, host);
  return (literals, from, _, options) =>
    literals.map(({ text }) => {
      const found = resolve(text, from, options);
      return found.resolvedModule || text.startsWith('.') ? found : resolve(text, join(root, 'elsewhere.ts'), options);
    });
}

/** TypeScript 5.5 and later make every module strict; in unmodified tslab, cells are not strict. */
const STRICT = /^"use strict";/;

const MAP = /\n?\/\/# sourceMappingURL=(?:data:application\/json;base64,)?(\S+)\s*$/;

function withoutMap(code: string): [code: string, map: SourceMapPayload | undefined] {
  const found = MAP.exec(code);
  if (!found) return [code, undefined];
  const inline = found[0].includes('base64,');
  return [
    code.slice(0, found.index),
    inline ? (JSON.parse(Buffer.from(found[1]!, 'base64').toString()) as SourceMapPayload) : undefined,
  ];
}

/**
 * The compiler sets two timers: one to compile again, which tslab runs at once for each cell, and one after a folder
 * has changed. tslab takes them for the same, and throws ("Unexpected pending rebuildTimer") if a folder changes while
 * it waits for the other.
 */
function withTimers(system: ts.System): ts.System {
  const { setTimeout: rebuildSoon, clearTimeout: rebuildLater } = system;
  let rebuild: unknown;
  system.setTimeout = (callback: (...args: unknown[]) => void, milliseconds: number, ...args: unknown[]) => {
    if (callback.name === 'invalidateResolutionsOfFailedLookup')
      return setTimeout(callback, milliseconds, ...args).unref();
    return (rebuild = rebuildSoon!(callback, milliseconds, ...args));
  };
  system.clearTimeout = (timer: unknown) => {
    if (timer === rebuild) rebuildLater!(timer);
    else clearTimeout(timer as NodeJS.Timeout);
  };
  return system;
}

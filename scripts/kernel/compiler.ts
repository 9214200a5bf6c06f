/** tslab's converter and executor, mended from outside: repaired sources, source maps, names of scripts. */
import type { SourceMapPayload } from 'node:module';
import vm from 'node:vm';

import type ts from '@tslab/typescript-for-tslab';
import { mendable } from './typescript'; // before tslab
import { createConverter, type ConvertResult, type Converter } from 'tslab/dist/converter';
import { createExecutor, type Executor } from 'tslab/dist/executor';

import { CompiledCell, nameOf, type Cell, type Steps } from './compiled';
import { compileFailure, thrownFailure, type Diagnostic, type Failure } from './failure';
import { repair } from './repair';

export interface CellRunnerOptions {
  /** Whether cells are compiled as `strict` has it. */
  readonly strict: boolean;
  /** Paths in tracebacks begin there. */
  readonly root: string;
}

/** Compiles and runs cells, one at a time. */
export class CellRunner {
  readonly executor: Executor;
  readonly #compiled = new Map<number, CompiledCell>();
  readonly #root: string;
  #cell: Cell = { count: 0, written: '' };
  #diagnostics: readonly Diagnostic[] = [];
  #said: unknown[][] = [];
  #steps: Steps | undefined;

  constructor({ strict, root }: CellRunnerOptions) {
    this.#root = root;
    this.#instrument(strict);
    const node = this.#mended(createConverter({ isJS: false, isBrowser: false }));
    const converters = { node, get browser(): Converter { throw new Error('cells for the browser are not supported'); }, close: () => node.close() }; // prettier-ignore
    this.executor = createExecutor(process.cwd(), converters, { log: console.log, error: (...said: unknown[]) => this.#said.push(said) });
  }

  /** @returns undefined where the cell ran to its end. */
  async run(cell: Cell): Promise<Failure | undefined> {
    [this.#cell, this.#diagnostics, this.#said] = [cell, [], []];
    let ran: boolean;
    try {
      ran = await this.executor.execute(cell.written);
    } catch (error) {
      return this.failure(error);
    }
    if (ran) {
      for (const said of this.#said) console.error(...said); // what is wrong with a module (%%), which is taken all the same
      return undefined;
    }
    return this.#diagnostics.length > 0 ? compileFailure(cell, this.#diagnostics) : this.failure(this.#said[0]?.[0]);
  }

  failure(thrown: unknown): Failure {
    return thrownFailure(thrown, this.#compiled, this.#root);
  }

  #mended(converter: Converter): Converter {
    return {
      ...converter,
      convert: (declarations: string, written: string): ConvertResult => {
        const repaired = repair(written);
        this.#steps = undefined;
        const result = converter.convert(declarations, repaired.source);
        this.#diagnostics = result.diagnostics.map((diagnostic) => {
          if (diagnostic.fileName !== undefined) return diagnostic;
          const [start, end] = [diagnostic.start, diagnostic.end].map(({ line, character }) => repaired.original(line, character));
          return { ...diagnostic, start: { line: start!.line, character: start!.column }, end: { line: end!.line, character: end!.column } };
        });
        if (this.#steps) this.#compiled.set(this.#cell.count, new CompiledCell(this.#cell, repaired, this.#steps));
        return { ...result, hasToplevelAwait: result.hasToplevelAwait || repaired.awaits };
      },
    };
  }

  /** What tslab takes from its compiler and from Node, so that the one tells where a line comes from and the other calls it by the cell's name. */
  #instrument(strict: boolean): void {
    const { createWatchCompilerHost, transpileModule } = mendable;
    const mended = mendable as { createWatchCompilerHost: unknown; transpileModule: unknown };
    mended.createWatchCompilerHost = (files: string[], options: ts.CompilerOptions, system: ts.System, ...others: []) =>
      createWatchCompilerHost(files, { ...options, strict, inlineSourceMap: true }, withTimers(system), ...others);
    mended.transpileModule = (module: string, options: ts.TranspileOptions): ts.TranspileOutput => {
      const [code, toModule] = withoutMap(module);
      const output = transpileModule(code, { ...options, compilerOptions: { ...options.compilerOptions, sourceMap: true } });
      const [script] = withoutMap(output.outputText);
      if (toModule) this.#steps = { toModule, toScript: JSON.parse(output.sourceMapText!) as SourceMapPayload, scriptLines: script.split('\n').length };
      return { ...output, outputText: script };
    };

    const { runInThisContext } = vm;
    vm.runInThisContext = (code: string, options?: vm.RunningScriptOptions | string) => {
      const wrapped = /^\((async )?function\(exports, require\) \{ /.exec(code);
      if (!wrapped || typeof options === 'string') return runInThisContext(code, options);
      try {
        return runInThisContext(code, { ...options, filename: nameOf(this.#cell.count), columnOffset: -wrapped[0].length, displayErrors: false });
      } finally {
        rearmInterrupt();
      }
    };
  }
}

const MAP = /\n?\/\/# sourceMappingURL=(?:data:application\/json;base64,)?(\S+)\s*$/;

function withoutMap(code: string): [code: string, map: SourceMapPayload | undefined] {
  const found = MAP.exec(code);
  if (!found) return [code, undefined];
  const inline = found[0].includes('base64,');
  return [code.slice(0, found.index), inline ? (JSON.parse(Buffer.from(found[1]!, 'base64').toString()) as SourceMapPayload) : undefined];
}

/**
 * The compiler sets two timers: one to compile anew, which tslab runs at once for each cell, and one after a folder has changed.
 * tslab takes them for one, and throws ("Unexpected pending rebuildTimer") where a folder changes while it waits for the other.
 */
function withTimers(system: ts.System): ts.System {
  const { setTimeout: rebuildSoon, clearTimeout: rebuildLater } = system;
  let rebuild: unknown;
  system.setTimeout = (callback: (...args: unknown[]) => void, milliseconds: number, ...args: unknown[]) => {
    if (callback.name === 'invalidateResolutionsOfFailedLookup') return setTimeout(callback, milliseconds, ...args).unref();
    return (rebuild = rebuildSoon!(callback, milliseconds, ...args));
  };
  system.clearTimeout = (timer: unknown) => {
    if (timer === rebuild) rebuildLater!(timer);
    else clearTimeout(timer as NodeJS.Timeout);
  };
  return system;
}

/**
 * While a cell's synchronous part runs, Node holds all handlers of SIGINT back; one that the cell registers meanwhile leaves the
 * process without any, and the next interrupt would end it. Registered again, they all work.
 */
function rearmInterrupt(): void {
  const listeners = process.rawListeners('SIGINT') as NodeJS.SignalsListener[];
  process.removeAllListeners('SIGINT');
  for (const listener of listeners) process.on('SIGINT', listener);
}

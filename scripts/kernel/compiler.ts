/** Runs cells on tslab's converter and executor, with repaired sources and names that cells share. */
// oxlint-disable-next-line import/no-duplicates -- first: it takes the place of tslab's compiler before tslab loads it
import './typescript';

import { join } from 'node:path';

import { createConverter, type Converter, type ConvertResult } from 'tslab/dist/converter';
import { createExecutor, type Executor } from 'tslab/dist/executor';
import type ts from 'typescript5';

import { CompiledCell, type Cell, type Steps } from './compiled';
import { compileFailure, thrownFailure, type Diagnostic, type Failure } from './failure';
import { instrumentCompiler, instrumentScripts } from './instrument';
import { declarationsAfter, declaredNames, publish, type Access, type Names } from './names';
import { PREFIX, repair } from './repair';
import { StopButton } from './stop';
import { mendable, signatureAt } from './typescript';

export interface CellRunnerOptions {
  /** Whether cells are compiled with TypeScript's `strict`. */
  readonly strict: boolean;
  /** Paths in tracebacks are relative to this folder. */
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
  /** The declarations of all cells so far, for the compiler, and the objects that have their values. */
  #declarations = '';
  readonly #exports: Record<string, unknown> = new Proxy({}, {});
  /** For the cell that was compiled last: the compiler's messages about it, and its names. */
  #converted: ConvertResult | undefined;
  #names: Names | undefined;
  #program: (() => ts.Program) | undefined;
  /**
   * Whether the cell that was compiled last awaits something outside its functions, and whether it has been stopped.
   */
  #awaits = false;
  #stopped = false;
  readonly #stop = new StopButton(() => this.interrupt());

  constructor({ strict, root }: CellRunnerOptions) {
    this.#root = root;
    instrumentCompiler(
      { strict, root },
      {
        program: (program) => (this.#program = program),
        names: (names) => (this.#names = names),
        steps: (steps) => (this.#steps = steps),
      },
    );
    instrumentScripts(() => ({
      count: this.#cell.count,
      awaits: this.#awaits,
      stopped: this.#stopped,
      hasNames: (this.#names?.all.length ?? 0) > 0,
    }));
    const node = this.#mended(createConverter({ isJS: false, isBrowser: false }));
    const converters = {
      node,
      get browser(): Converter {
        throw new Error('cells for the browser are not supported');
      },
      close: () => node.close(),
    };
    this.executor = createExecutor(process.cwd(), converters, {
      log: console.log,
      error: (...said: unknown[]) => this.#said.push(said),
    });
    of(globalThis).__tslab__.exports = this.#exports;
  }

  /**
   * @param show takes the value of the cell's last expression, if it has one.
   * @returns undefined if the cell ran to its end.
   */
  async run(cell: Cell, show: (value: {}) => void): Promise<Failure | undefined> {
    [this.#cell, this.#diagnostics, this.#said, this.#converted, this.#stopped] = [cell, [], [], undefined, false];
    this.#stop.rearm();
    of(globalThis).__tslab__.accessors = undefined;
    let ran = false;
    try {
      ran = await this.executor.execute(cell.written);
      if (ran) this.#showLast(show);
    } catch (error) {
      return this.failure(error);
    } finally {
      this.#keepNames(ran);
    }
    if (ran) {
      // Faults of a module (%%), which is accepted in spite of them.
      for (const said of this.#said) console.error(...said);
      return undefined;
    }
    return this.#diagnostics.length > 0 ? compileFailure(cell, this.#diagnostics) : this.failure(this.#said[0]?.[0]);
  }

  /** Ends the running cell; its pending timers and callbacks continue. */
  interrupt(): void {
    this.#stopped = true;
    this.executor.interrupt();
  }

  /** Makes what the cell declared available to later cells, however it ended. */
  #keepNames(ended: boolean): void {
    const { accessors } = of(globalThis).__tslab__;
    if (this.#converted?.declOutput === undefined) return; // it was not compiled
    const lost =
      accessors && this.#names
        ? publish(this.#exports, accessors(), this.#names, ended)
        : new Set(ended ? [] : this.#names?.all);
    this.#declarations = declarationsAfter(this.#converted.declOutput, this.#declarations, lost);
  }

  /** tslab would look for the value on its own `exports`, and print it. */
  #showLast(show: (value: {}) => void): void {
    const name = this.#converted?.lastExpressionVar;
    if (name === undefined) return;
    const value = this.#exports[name];
    delete this.#exports[name];
    // The function has no name of its own: tslab gave it this one.
    if (typeof value === 'function' && value.name === name) Object.defineProperty(value, 'name', { value: '' });
    if (value !== undefined && value !== null) show(value);
  }

  failure(thrown: unknown): Failure {
    return thrownFailure(thrown, this.#compiled, this.#root);
  }

  #mended(converter: Converter): Converter {
    return {
      ...converter,
      inspect: (_: string, code: string, position: number) =>
        this.#stop.undisturbed(
          () => converter.inspect(this.#declarations, code, position) ?? this.#signature(position),
        ),
      complete: (_: string, ...at: [string, number]) =>
        this.#stop.undisturbed(() => converter.complete(this.#declarations, ...at)),
      convert: (_: string, written: string): ConvertResult => {
        const repaired = repair(written);
        [this.#steps, this.#names] = [undefined, undefined];
        const result = this.#stop.undisturbed(() => converter.convert(this.#declarations, repaired.source));
        this.#diagnostics = result.diagnostics.map((diagnostic) => {
          if (diagnostic.fileName !== undefined) return diagnostic;
          const [start, end] = [diagnostic.start, diagnostic.end].map(({ line, character }) =>
            repaired.original(line, character),
          );
          return {
            ...diagnostic,
            start: { line: start!.line, character: start!.column },
            end: { line: end!.line, character: end!.column },
          };
        });
        if (this.#steps) this.#compiled.set(this.#cell.count, new CompiledCell(this.#cell, repaired, this.#steps));
        if (result.diagnostics.length === 0)
          this.#converted = {
            ...result,
            declOutput: `${result.declOutput ?? ''}${this.#declarationsOfBlocks(result.declOutput ?? '')}`,
          };
        this.#awaits = result.hasToplevelAwait || repaired.awaits;
        // It runs in an event-loop turn of its own: see instrument.ts.
        return { ...result, hasToplevelAwait: true, lastExpressionVar: undefined };
      },
    };
  }

  #source(): ts.SourceFile & { locals: Map<string, ts.Symbol> } {
    return this.#program!().getSourceFile(join(process.cwd(), '__tslab__.ts')) as ts.SourceFile & {
      locals: Map<string, ts.Symbol>;
    };
  }

  /**
   * Between the parentheses of a call, where there is no name: the parameters of the function. The compiler still has
   * the cell's text from the previous question.
   */
  #signature(position: number): ts.QuickInfo | undefined {
    const help = signatureAt(this.#program!(), this.#source(), position + PREFIX.length);
    const item = help?.items[help.selectedItemIndex];
    if (!help || !item) return undefined;
    const parameters = item.parameters.flatMap(({ displayParts }, n) => [
      ...(n === 0 ? [] : item.separatorDisplayParts),
      ...displayParts,
    ]);
    const displayParts = [...item.prefixDisplayParts, ...parameters, ...item.suffixDisplayParts];
    return {
      kind: mendable.ScriptElementKind.functionElement,
      kindModifiers: '',
      textSpan: { start: position, length: 0 },
      displayParts,
      documentation: item.documentation,
      tags: item.tags,
    };
  }

  /** The `var`s in blocks, which TypeScript leaves out of a module's declarations. */
  #declarationsOfBlocks(declared: string): string {
    const known = declaredNames(declared);
    const names = (this.#names?.all ?? []).filter((name) => this.#names!.hoisted.has(name) && !known.has(name));
    if (names.length === 0) return '';
    const checker = this.#program!().getTypeChecker();
    const source = this.#source();
    const typeOf = (name: string) =>
      checker.typeToString(
        checker.getTypeOfSymbolAtLocation(source.locals.get(name)!, source),
        source,
        mendable.TypeFormatFlags.NoTruncation,
      );
    return names.map((name) => `\ndeclare var ${name}: ${typeOf(name)};`).join('');
  }
}

/** tslab's own object for the values that cells share. */
interface Shared {
  __tslab__: { exports: object; accessors?: (() => Readonly<Record<string, Access>>) | undefined };
}

const of = (global: object): Shared => global as Shared;

/**
 * TypeScript 5.9 in place of tslab's own 5.0.4; import this before tslab. (TypeScript 7, which compiles the library,
 * has no JavaScript API.) tslab's copy is Microsoft's with five more functions, which are rewritten below, and an
 * option, which repair.ts replaces.
 */
import { Module } from 'node:module';
import { dirname } from 'node:path';

import ts from 'typescript5';

/** The language features available to cells: the `lib` of the library's tsconfig.json. */
export const LIBRARIES: readonly string[] = ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'];

type CancellationToken = ts.CancellationToken & { throwIfCancellationRequested(): void };

/** Parts of TypeScript that its own types omit. */
interface Internals {
  readonly nullTransformationContext: ts.TransformationContext;
  getTouchingPropertyName(file: ts.SourceFile, position: number): ts.Node;
  getContainerNode(node: ts.Node): ts.Node | undefined;
  readonly Completions: { getCompletionsAtPosition(...of: unknown[]): ts.CompletionInfo | undefined };
  readonly SignatureHelp: {
    getSignatureHelpItems(
      program: ts.Program,
      file: ts.SourceFile,
      position: number,
      reason: ts.SignatureHelpTriggerReason,
      token: CancellationToken,
    ): ts.SignatureHelpItems | undefined;
  };
  readonly SymbolDisplay: {
    getSymbolDisplayPartsDocumentationAndSymbolKind(
      checker: ts.TypeChecker,
      symbol: ts.Symbol,
      file: ts.SourceFile,
      container: ts.Node | undefined,
      at: ts.Node,
    ): Described;
    getSymbolModifiers(checker: ts.TypeChecker, symbol: ts.Symbol): string;
  };
}

interface Unknowns {
  isUnknownSymbol(symbol: ts.Symbol): boolean;
}

interface Described extends Pick<ts.QuickInfo, 'displayParts' | 'documentation' | 'tags'> {
  readonly symbolKind: ts.ScriptElementKind;
}

const {
  nullTransformationContext,
  getTouchingPropertyName,
  getContainerNode,
  Completions,
  SignatureHelp,
  SymbolDisplay,
} = ts as unknown as Internals;

/** Also for notebooks in other folders: the Node types that come with tslab are for another version of Node. */
const PROJECTS_TYPES = dirname(dirname(require.resolve('@types/node/package.json')));

/** TypeScript, with functions that can be replaced; a replacement applies to all of tslab. */
export const mendable = {
  ...ts,
  getDefaultTypeRoots: (folder: string) => [
    ...(ts.getEffectiveTypeRoots({}, { getCurrentDirectory: () => folder }) ?? []),
    PROJECTS_TYPES,
  ],
  getNullTransformationContext: () => nullTransformationContext,
  getPreEmitDiagnosticsOfFiles,
  getQuickInfoAtPosition,
  Completions: {
    ...Completions,
    // tslab passes an empty host, but completing the names within an import's braces asks the host for the compiler's
    // settings.
    getCompletionsAtPositionForTslab: (host: object, program: ts.Program, ...more: unknown[]) =>
      Completions.getCompletionsAtPosition(
        { ...host, getCompilationSettings: () => program.getCompilerOptions() },
        program,
        ...more,
      ),
  },
};

function getPreEmitDiagnosticsOfFiles(program: ts.Program, files: readonly ts.SourceFile[]): readonly ts.Diagnostic[] {
  const ofFiles = files.flatMap((file) => [
    ...program.getSyntacticDiagnostics(file),
    ...program.getSemanticDiagnostics(file),
    ...program.getDeclarationDiagnostics(file),
  ]);
  return ts.sortAndDeduplicateDiagnostics([...program.getGlobalDiagnostics(), ...ofFiles]);
}

/** What a name is. TypeScript's language service answers this only for files that it compiles itself. */
function getQuickInfoAtPosition(
  file: ts.SourceFile,
  checker: ts.TypeChecker,
  _: unknown,
  position: number,
): ts.QuickInfo | undefined {
  const node = getTouchingPropertyName(file, position);
  if (node === file) return undefined;
  const textSpan = { start: node.getStart(file), length: node.getWidth(file) };
  const symbol = checker.getSymbolAtLocation(node);
  if (symbol && !(checker as unknown as Unknowns).isUnknownSymbol(symbol)) {
    const { symbolKind, ...described } = SymbolDisplay.getSymbolDisplayPartsDocumentationAndSymbolKind(
      checker,
      symbol,
      file,
      getContainerNode(node),
      node,
    );
    return {
      kind: symbolKind,
      kindModifiers: SymbolDisplay.getSymbolModifiers(checker, symbol),
      textSpan,
      ...described,
    };
  }
  if (!ts.isIdentifier(node) && node.kind !== ts.SyntaxKind.ThisKeyword && node.kind !== ts.SyntaxKind.SuperKeyword)
    return undefined;
  const text = checker.typeToString(checker.getTypeAtLocation(node));
  return { kind: ts.ScriptElementKind.unknown, kindModifiers: '', textSpan, displayParts: [{ kind: 'text', text }] };
}

/** The call at a place, and its parameters. */
export function signatureAt(
  program: ts.Program,
  file: ts.SourceFile,
  position: number,
): ts.SignatureHelpItems | undefined {
  const never: CancellationToken = {
    isCancellationRequested: () => false,
    throwIfCancellationRequested: () => undefined,
  };
  return SignatureHelp.getSignatureHelpItems(program, file, position, { kind: 'invoked' }, never);
}

// Silently, tslab would compile every cell by its own TypeScript.
if (require.cache[require.resolve('@tslab/typescript-for-tslab')])
  throw new Error('tslab was loaded before scripts/kernel/typescript.ts; import that first');
const replaced = new Module(require.resolve('@tslab/typescript-for-tslab'));
replaced.exports = mendable;
replaced.loaded = true;
require.cache[replaced.id] = replaced;

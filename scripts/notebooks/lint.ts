/**
 * Finds TypeScript that unmodified tslab 1.0.22 miscompiles, with the compiler that tslab uses.
 *
 * tslab keeps a cell's names on an `exports` object and rewrites, in later cells, each name that an earlier cell
 * declared. The rewriting misses some places and changes others that it should leave alone; top-level await is
 * recognized only in some forms.
 */
import ts from '@tslab/typescript-for-tslab';

import { PREFIX } from '../kernel/repair';

export interface Finding {
  /** Counts from 1, within the cell. */
  readonly line: number;
  readonly message: string;
}

/** A program of only this cell: what its checker cannot resolve was declared in an earlier cell, or nowhere. */
function compile(source: string): { file: ts.SourceFile; checker: ts.TypeChecker } {
  const name = 'cell.ts';
  const options: ts.CompilerOptions = {
    noLib: true,
    noResolve: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    types: [],
  };
  const file = ts.createSourceFile(name, PREFIX + source, ts.ScriptTarget.ES2022, true);
  const host: ts.CompilerHost = {
    getSourceFile: (path) => (path === name ? file : undefined),
    fileExists: (path) => path === name,
    readFile: () => undefined,
    writeFile: () => undefined,
    getDefaultLibFileName: () => 'lib.d.ts',
    getCurrentDirectory: () => '',
    getCanonicalFileName: (path) => path,
    useCaseSensitiveFileNames: () => true,
    getNewLine: () => '\n',
  };
  return { file, checker: ts.createProgram([name], options, host).getTypeChecker() };
}

export function lintCell(source: string): Finding[] {
  const { file, checker } = compile(source);
  const findings: Finding[] = [];
  let awaitSeen = false; // one that tslab recognizes
  const awaitsMissed: ts.Node[] = [];

  const report = (node: ts.Node, message: string) => {
    const { line } = file.getLineAndCharacterOfPosition(node.getStart(file));
    findings.push({ line, message }); // the prefix is one line, so line 0 here is the prefix
  };

  const visit = (node: ts.Node, inFunction: boolean): void => {
    if (ts.isShorthandPropertyAssignment(node) && !checker.getShorthandAssignmentValueSymbol(node)) {
      const { text } = node.name;
      report(
        node,
        isAssigned(node.parent)
          ? `assigns to "${text}" of an earlier cell by a pattern, which does nothing; write "${text} = …"`
          : `shorthand "{ ${text} }" of a name from an earlier cell; write "{ ${text}: ${text} }"`,
      );
    }
    if (ts.isBindingElement(node) && node.propertyName && ts.isIdentifier(node.propertyName)) {
      const { text } = node.propertyName;
      report(node, `renames or opens "${text}" in a destructuring pattern; read the property instead: "….${text}"`);
    }
    if (
      ts.canHaveModifiers(node) &&
      node.parent === file &&
      ts.getModifiers(node)?.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword)
    ) {
      report(node, 'exports from a cell; leave "export" out');
    }
    if ((ts.isExportDeclaration(node) || ts.isExportAssignment(node)) && node.pos >= PREFIX.length - 1) {
      report(node, 'exports from a cell; leave it out');
    }
    if (!inFunction) {
      if (isRecognisedAwait(node, file)) awaitSeen = true;
      else if (isAwait(node)) awaitsMissed.push(node);
    }
    ts.forEachChild(node, (child) => visit(child, inFunction || ts.isFunctionLike(node)));
  };
  visit(file, false);

  if (!awaitSeen) {
    for (const node of awaitsMissed)
      report(
        node,
        'the only await of the cell is one that tslab does not recognise; begin the cell with "await null;"',
      );
  }
  return findings;
}

/** Is this object literal the left side of an assignment? */
function isAssigned(literal: ts.Node): boolean {
  const { parent } = literal;
  return (
    ts.isBinaryExpression(parent) && parent.left === literal && parent.operatorToken.kind === ts.SyntaxKind.EqualsToken
  );
}

/** Whether an expression or a loop awaits; the kernel's repair.ts has the same function for a different TypeScript. */
const isAwait = (node: ts.Node): boolean =>
  ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined);

/**
 * `await (f())`, `await [x]` and the like could also call or index a variable named await, and tslab reads them that
 * way.
 */
function isRecognisedAwait(node: ts.Node, file: ts.SourceFile): boolean {
  return ts.isAwaitExpression(node) && !/^[([+\-/`]/.test(node.expression.getText(file));
}

/** The names that a cell imports from a package. `import *` counts as the one name it binds. */
export function importedNames(source: string, from: string): string[] {
  const file = ts.createSourceFile('cell.ts', source, ts.ScriptTarget.ES2022, true);
  return file.statements.flatMap((statement) => {
    if (
      !ts.isImportDeclaration(statement) ||
      !ts.isStringLiteral(statement.moduleSpecifier) ||
      statement.moduleSpecifier.text !== from
    )
      return [];
    const clause = statement.importClause;
    const named = clause?.namedBindings;
    const names = !named
      ? []
      : ts.isNamedImports(named)
        ? named.elements.map((element) => (element.propertyName ?? element.name).text)
        : [named.name.text];
    return clause?.name ? [clause.name.text, ...names] : names;
  });
}

/**
 * A cell's source -> source that tslab 1.0.22 compiles correctly, on the same lines.
 *
 * tslab keeps a cell's names on an `exports` object. In later cells, it rewrites each name that an earlier cell
 * declared. It misses shorthand properties, and it rewrites names in patterns that are not variables. It exports every
 * name separately, and notices top-level await only if its checker complains about one.
 */
import ts from 'typescript5';

/** `inserted` replaced `removed` characters at `at` in the cell as written; neither contains a line break. */
export interface Edit {
  readonly at: number;
  readonly removed: number;
  readonly inserted: string;
}

export interface Repaired {
  readonly source: string;
  /** Whether there is an await, a `for await` or an `await using` outside all functions. */
  readonly awaits: boolean;
  /** Where a place in `source` is in the cell as written; lines and columns count from 0. */
  original(line: number, column: number): { line: number; column: number };
}

/** Turns the cell into a module, as tslab does: only in a module is every `await` a keyword. */
export const PREFIX = 'export {};\n';

export function repair(written: string): Repaired {
  const file = ts.createSourceFile('cell.ts', PREFIX + written, ts.ScriptTarget.ES2022, true, ts.ScriptKind.TS);
  const edits: Edit[] = [];
  const edit = (from: number, to: number, inserted: string) =>
    edits.push({ at: from - PREFIX.length, removed: to - from, inserted });
  const blank = (from: number, to: number) => {
    for (const { index, 0: text } of file.text.slice(from, to).matchAll(/[^\r\n]+/g))
      edit(from + index, from + index + text.length, ' '.repeat(text.length));
  };
  let awaits = false;

  const visit = (node: ts.Node, inFunction: boolean): void => {
    if (ts.isShorthandPropertyAssignment(node)) edit(node.name.end, node.name.end, `: ${node.name.text}`);
    const property = propertyOfPattern(node);
    if (property) edit(property.getStart(file), property.end, JSON.stringify(property.text));
    if (!inFunction && isAwait(node)) awaits = true;
    if (ts.isFunctionLike(node)) {
      const { name } = node; // a computed name of a method is evaluated outside the method
      ts.forEachChild(node, (child) => visit(child, inFunction || child !== name));
    } else {
      ts.forEachChild(node, (child) => visit(child, inFunction));
    }
  };
  for (const statement of file.statements.slice(1)) {
    const exported = ts.canHaveModifiers(statement)
      ? ts
          .getModifiers(statement)
          ?.filter(({ kind }) => kind === ts.SyntaxKind.ExportKeyword || kind === ts.SyntaxKind.DefaultKeyword)
      : undefined;
    const nameless =
      (ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement)) &&
      statement.name === undefined &&
      exported &&
      exported.length > 0;
    if (nameless)
      edit(exported[0]!.getStart(file), exported.at(-1)!.end, 'void'); // an expression needs no name
    else for (const modifier of exported ?? []) blank(modifier.getStart(file), modifier.end);
    if (ts.isExportDeclaration(statement)) blank(statement.getStart(file), statement.end);
    else if (ts.isExportAssignment(statement) && !statement.isExportEquals)
      blank(statement.getStart(file), statement.expression.getStart(file));
    if (!ts.isExportDeclaration(statement)) visit(statement, false);
  }

  const starts = file
    .getLineStarts()
    .slice(1)
    .map((start) => start - PREFIX.length);
  edits.sort((one, other) => one.at - other.at);
  return {
    source: applied(written, edits),
    awaits,
    original: (line, column) => original(starts[line] ?? written.length, edits, line, column),
  };
}

/** `lr` in `const { lr: rate } = config` and in `({ lr: rate } = config)`. */
function propertyOfPattern(node: ts.Node): ts.Identifier | undefined {
  const name = ts.isBindingElement(node)
    ? node.propertyName
    : ts.isPropertyAssignment(node) && isAssigned(node.parent)
      ? node.name
      : undefined;
  return name && ts.isIdentifier(name) ? name : undefined;
}

/** Whether the literal is the target of an assignment, rather than a value. */
function isAssigned(literal: ts.Expression): boolean {
  const { parent } = literal;
  if (ts.isParenthesizedExpression(parent) || ts.isArrayLiteralExpression(parent)) return isAssigned(parent);
  if (ts.isSpreadElement(parent)) return isAssigned(parent.parent);
  if (ts.isPropertyAssignment(parent)) return isAssigned(parent.parent);
  if (ts.isForOfStatement(parent) || ts.isForInStatement(parent)) return parent.initializer === literal;
  return (
    ts.isBinaryExpression(parent) && parent.operatorToken.kind === ts.SyntaxKind.EqualsToken && parent.left === literal
  );
}

/** Whether an expression, a loop or a declaration awaits. */
function isAwait(node: ts.Node): boolean {
  if (ts.isVariableDeclarationList(node)) return (node.flags & ts.NodeFlags.AwaitUsing) === ts.NodeFlags.AwaitUsing;
  return ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined);
}

/** @param edits in the order of their places. */
export function applied(written: string, edits: readonly Edit[]): string {
  let [source, from] = ['', 0];
  for (const { at, removed, inserted } of edits) {
    source += written.slice(from, at) + inserted;
    from = at + removed;
  }
  return source + written.slice(from);
}

/** Where a place in an edited line was before the edits. @param start where the line begins in the text before. */
export function original(
  start: number,
  edits: readonly Edit[],
  line: number,
  column: number,
): { line: number; column: number } {
  let shift = 0; // by how much the edited line is longer than the original, up to `column`
  for (const { at, removed, inserted } of edits.filter(({ at }) => at >= start)) {
    const here = at - start + shift; // where the edit begins in the line
    if (here >= column) break;
    if (here + inserted.length > column) return { line, column: at - start }; // within the inserted text
    shift += inserted.length - removed;
  }
  return { line, column: column - shift };
}

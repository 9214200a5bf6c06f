/**
 * A cell's names, as other cells see them: each is one variable, wherever it is read and assigned.
 *
 * tslab copies a name's value onto an object, `exports`, when the cell assigns it, and lets later cells read and write
 * the copy there, while the functions of the first cell keep using their own variable. Here, `exports` has a pair of
 * accessors in place of the copy. The cell itself makes them, so they reach its variable.
 */
import ts from 'typescript5';

import { applied, original, type Edit } from './repair';

/** How a name is read and, unless it was imported, assigned. */
export type Access = readonly [get: () => unknown, set?: (value: unknown) => void];

export interface Names {
  /** All names that the cell declares and another cell may use. */
  readonly all: readonly string[];
  /** The names that exist as `undefined` from the cell's beginning: each `var`, and enums. */
  readonly hoisted: ReadonlySet<string>;
}

/** The function that returns a cell's accessors. */
export const ACCESSORS = '__alignbook_accessors';

export interface Named {
  readonly module: string;
  readonly names: Names;
  /** Where a place was in the original module; lines and columns count from 0. */
  was(line: number, column: number): { line: number; column: number };
}

/**
 * @param module a cell as JavaScript, with tslab's `export {…}` of its names.
 * @returns the same without these exports, on the same lines, followed by a function that makes the accessors. The
 *   function is hoisted, so names declared before an error remain available after it. A function of an earlier cell is
 *   called on its own: called as `exports.f()`, it would have all names of the notebook as its `this`.
 */
export function withAccessors(module: string): Named {
  const file = ts.createSourceFile('cell.js', module, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const exported: string[] = [];
  const imported = new Set<string>();
  const edits: Edit[] = [];
  // Where a called name ends -> where it begins: a stack has the first for a call of this form, otherwise the second.
  const callees = new Map<number, number>();
  const visit = (node: ts.Node): void => {
    const called = ts.isCallExpression(node)
      ? node.expression
      : ts.isTaggedTemplateExpression(node)
        ? node.tag
        : undefined;
    if (
      called &&
      ts.isPropertyAccessExpression(called) &&
      ts.isIdentifier(called.expression) &&
      called.expression.text === 'exports'
    ) {
      edits.push(
        { at: called.getStart(file), removed: 0, inserted: '(0, ' },
        { at: called.end, removed: 0, inserted: ')' },
      );
      callees.set(called.end, called.getStart(file));
    }
    ts.forEachChild(node, visit);
  };
  for (const statement of file.statements) {
    if (ts.isImportDeclaration(statement)) for (const name of importedNames(statement)) imported.add(name);
    visit(statement);
    if (
      !ts.isExportDeclaration(statement) ||
      !statement.exportClause ||
      !ts.isNamedExports(statement.exportClause) ||
      statement.moduleSpecifier
    )
      continue;
    exported.push(...statement.exportClause.elements.map(({ name }) => name.text));
    const [from, to] = [statement.getStart(file), statement.end];
    edits.push({ at: from, removed: to - from, inserted: 'export {};' });
  }
  const access = (name: string) =>
    `${JSON.stringify(name)}: [() => ${name}${imported.has(name) ? '' : `, (value) => { ${name} = value; }`}]`;
  edits.sort((one, other) => one.at - other.at);
  const text = applied(module, edits);
  const starts = file.getLineStarts();
  return {
    was: (line, column) => {
      const place = original(starts[line] ?? module.length, edits, line, column);
      const begins = callees.get((starts[place.line] ?? 0) + place.column);
      if (begins === undefined) return place;
      const { line: atLine, character } = file.getLineAndCharacterOfPosition(begins);
      return { line: atLine, column: character };
    },
    module:
      exported.length === 0
        ? text
        : `${text}\nfunction ${ACCESSORS}() { return { ${exported.map(access).join(', ')} }; }`,
    names: { all: exported, hoisted: hoistedNames(file) },
  };
}

function importedNames({ importClause: clause }: ts.ImportDeclaration): string[] {
  const bindings = clause?.namedBindings;
  const named =
    bindings === undefined
      ? []
      : ts.isNamespaceImport(bindings)
        ? [bindings.name]
        : bindings.elements.map(({ name }) => name);
  return [...(clause?.name ? [clause.name] : []), ...named].map(({ text }) => text);
}

/** Each `var` outside functions, including those in blocks. */
function hoistedNames(file: ts.SourceFile): Set<string> {
  const found = new Set<string>();
  const add = (name: ts.BindingName): void => {
    if (ts.isIdentifier(name)) found.add(name.text);
    else for (const element of name.elements) if (ts.isBindingElement(element)) add(element.name);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) || ts.isClassLike(node)) return;
    if (ts.isVariableDeclarationList(node) && !(node.flags & ts.NodeFlags.BlockScoped))
      for (const { name } of node.declarations) add(name);
    ts.forEachChild(node, visit);
  };
  ts.forEachChild(file, visit);
  return found;
}

/**
 * Puts the names that a cell reached onto `exports`.
 *
 * @param ended whether the cell ran to its end; if not, a `var` that is undefined was not reached.
 * @returns the names that the cell did not reach: these keep their meaning from earlier cells.
 */
export function publish(
  exports: object,
  accessors: Readonly<Record<string, Access>>,
  { hoisted }: Names,
  ended: boolean,
): Set<string> {
  const lost = new Set<string>();
  for (const [name, [get, set]] of Object.entries(accessors)) {
    if (isReached(get, ended || !hoisted.has(name)))
      Object.defineProperty(exports, name, { get, ...(set && { set }), enumerable: true, configurable: true });
    else lost.add(name);
  }
  return lost;
}

function isReached(get: () => unknown, mayBeUndefined: boolean): boolean {
  try {
    return get() !== undefined || mayBeUndefined;
  } catch {
    return false; // "Cannot access before initialization"
  }
}

/**
 * The declarations that later cells see, as a declaration file.
 *
 * @param made tslab's declaration file after the cell, as if the cell had run to its end; `before`: the one before the
 *   cell.
 * @param lost names that the cell declares but did not reach.
 */
export function declarationsAfter(made: string, before: string, lost: ReadonlySet<string>): string {
  if (lost.size === 0) return made;
  return `${declarations(made, (name) => !lost.has(name))}\n${declarations(before, (name) => lost.has(name))}`;
}

const parsed = (declarations: string): ts.SourceFile =>
  ts.createSourceFile('names.d.ts', declarations, ts.ScriptTarget.ES2022, true, ts.ScriptKind.TS);

/** The names of the values in a declaration file. */
export function declaredNames(text: string): Set<string> {
  const file = parsed(text);
  return new Set(
    file.statements.flatMap((statement) => {
      if (ts.isVariableStatement(statement))
        return statement.declarationList.declarations.map(({ name }) => name.getText(file));
      if (ts.isImportDeclaration(statement)) return importedNames(statement);
      const { name } = statement as { name?: ts.Node };
      return name && !ts.isInterfaceDeclaration(statement) && !ts.isTypeAliasDeclaration(statement)
        ? [name.getText(file)]
        : [];
    }),
  );
}

/**
 * The statements of a declaration file, without the names that are not wanted; statements that declare no names stay.
 */
function declarations(text: string, wanted: (name: string) => boolean): string {
  const file = parsed(text);
  const printer = ts.createPrinter();
  const print = (node: ts.Node) => printer.printNode(ts.EmitHint.Unspecified, node, file);
  return file.statements
    .flatMap((statement) => {
      if (ts.isVariableStatement(statement)) {
        const kept = statement.declarationList.declarations.filter(
          ({ name }) => ts.isIdentifier(name) && wanted(name.text),
        );
        const list = ts.factory.createVariableDeclarationList(kept, statement.declarationList.flags);
        return kept.length === 0 ? [] : [print(ts.factory.createVariableStatement(statement.modifiers, list))];
      }
      if (ts.isImportDeclaration(statement))
        return importedNames(statement).some(wanted) ? [print(only(statement, wanted))] : [];
      const { name } = statement as { name?: ts.Node };
      return name && ts.isIdentifier(name) && !wanted(name.text) ? [] : [print(statement)];
    })
    .join('\n');
}

/** An import, reduced to its wanted names. */
function only(statement: ts.ImportDeclaration, wanted: (name: string) => boolean): ts.ImportDeclaration {
  const { name, namedBindings: bindings, isTypeOnly } = statement.importClause!;
  const kept =
    bindings === undefined
      ? undefined
      : ts.isNamespaceImport(bindings)
        ? wanted(bindings.name.text)
          ? bindings
          : undefined
        : ts.factory.createNamedImports(bindings.elements.filter((element) => wanted(element.name.text)));
  const clause = ts.factory.createImportClause(isTypeOnly, name && wanted(name.text) ? name : undefined, kept);
  return ts.factory.createImportDeclaration(
    statement.modifiers,
    clause,
    statement.moduleSpecifier,
    statement.assertClause,
  );
}

/**
 * A cell's names, as other cells see them: one variable each, wherever it is read and assigned.
 *
 * tslab copies a name's value onto an object, `exports`, where the cell assigns it, and lets later cells read and write
 * the copy there: the functions of the first cell go on with a variable of their own. Here `exports` has a pair of
 * accessors in place of the copy, which the cell itself makes, so that they reach its variable.
 */
import ts from 'typescript5';

import { applied, original, type Edit } from './repair';

/** How a name is read, and, unless it was imported, assigned. */
export type Access = readonly [get: () => unknown, set?: (value: unknown) => void];

export interface Names {
  /** All that the cell declares and another cell may use. */
  readonly all: readonly string[];
  /** Those that are there from the cell's beginning as `undefined`: `var`, and enums. */
  readonly hoisted: ReadonlySet<string>;
}

/** The function that hands out a cell's accessors. */
export const ACCESSORS = '__alignbook_accessors';

export interface Named {
  readonly module: string;
  readonly names: Names;
  /** Where a place was in the module as it came; lines and columns are counted from 0. */
  was(line: number, column: number): { line: number; column: number };
}

/**
 * @param module a cell as JavaScript, with tslab's `export {…}` of its names.
 * @returns the same without them, on the same lines, and after its end a function that makes the accessors. It stands
 *   first when the cell runs: what comes before an error is there afterwards. And an earlier cell's function is called
 *   by itself: as `exports.f()` it would have all names of the notebook as its `this`.
 */
export function withAccessors(module: string): Named {
  const file = ts.createSourceFile('cell.js', module, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const exported: string[] = [];
  const imported = new Set<string>();
  const edits: Edit[] = [];
  // where a called name ends -> where it begins: a stack has the first for what is called so, and else the second
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

/** `var`s outside of functions, in blocks, too. */
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
 * Puts a cell's names onto `exports`, those that it came to.
 *
 * @param ended whether the cell ran to its end: else a `var` that is undefined was not reached.
 * @returns the names that it did not come to: an earlier cell's keep their meaning.
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
 * What later cells may know of the names, as a declaration file.
 *
 * @param made tslab's after the cell, as if it had run to its end; `before`: as it was before the cell.
 * @param lost names of the cell that it did not come to.
 */
export function declarationsAfter(made: string, before: string, lost: ReadonlySet<string>): string {
  if (lost.size === 0) return made;
  return `${declarations(made, (name) => !lost.has(name))}\n${declarations(before, (name) => lost.has(name))}`;
}

const parsed = (declarations: string): ts.SourceFile =>
  ts.createSourceFile('names.d.ts', declarations, ts.ScriptTarget.ES2022, true, ts.ScriptKind.TS);

/** The values of a declaration file. */
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
 * The statements of a declaration file, as far as they declare values that are wanted; types go with the first of two
 * files only where nothing else is said.
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

/** An import of those of its names that are wanted. */
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

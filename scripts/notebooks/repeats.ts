/** The cell that repeats earlier notebooks: what it needs of them, and the rule that it has exactly that. */
import ts from 'typescript5';

import type { Cell, Notebook } from './notebook';

const codeCells = (notebook: Notebook) => notebook.cells.filter((cell) => cell.cell_type === 'code');

interface Statement {
  /** As written, with the comments above it. */
  readonly text: string;
  /** Whether a blank line, or nothing, comes before it. */
  readonly apart: boolean;
  readonly declares: readonly string[];
  readonly uses: ReadonlySet<string>;
  readonly imported: ts.NamedImports | undefined;
}

/** The top-level statements of a cell. */
function statements(source: string): Statement[] {
  const file = ts.createSourceFile('cell.ts', source, ts.ScriptTarget.ES2022, true);
  return file.statements.map((node, n) => {
    const full = node.getFullText(file);
    const bindings = ts.isImportDeclaration(node) ? node.importClause?.namedBindings : undefined;
    return {
      text: full.trim(),
      apart: n === 0 || /^\s*?\n\s*?\n/.test(full),
      declares: declared(node),
      uses: used(node),
      imported: bindings && ts.isNamedImports(bindings) ? bindings : undefined,
    };
  });
}

/** The names that a statement declares for those after it. */
function declared(node: ts.Node): string[] {
  if (ts.isVariableStatement(node)) return node.declarationList.declarations.flatMap(({ name }) => boundNames(name));
  if (ts.isImportDeclaration(node)) {
    const bindings = node.importClause?.namedBindings;
    return bindings && ts.isNamedImports(bindings) ? bindings.elements.map(({ name }) => name.text) : [];
  }
  const { name } = node as ts.Node & { readonly name?: ts.Node };
  return name && ts.isIdentifier(name) ? [name.text] : [];
}

function boundNames(name: ts.BindingName): string[] {
  if (ts.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((element) => (ts.isBindingElement(element) ? boundNames(element.name) : []));
}

/** The names that may stand for a variable or a type of other statements: not those of properties, nor local ones. */
function used(node: ts.Node): Set<string> {
  const names = new Set<string>();
  const visit = (inner: ts.Node, local: ReadonlySet<string>): void => {
    const here = isScope(inner) ? new Set([...local, ...localNames(inner)]) : local;
    if (ts.isIdentifier(inner) && !isPropertyName(inner) && !here.has(inner.text)) names.add(inner.text);
    ts.forEachChild(inner, (child) => visit(child, here));
  };
  visit(node, new Set());
  return names;
}

const isScope = (node: ts.Node): boolean =>
  ts.isFunctionLike(node) || ts.isBlock(node) || ts.isIterationStatement(node, false) || ts.isCatchClause(node);

/** The variables and parameters that a scope declares, those of scopes inside it left out. */
function localNames(scope: ts.Node): string[] {
  const namesIn = (node: ts.Node): string[] => [
    ...(ts.isVariableDeclaration(node) || ts.isParameter(node) ? boundNames(node.name) : []),
    ...(isScope(node) ? [] : childrenOf(node).flatMap(namesIn)),
  ];
  return childrenOf(scope).flatMap(namesIn);
}

function childrenOf(node: ts.Node): ts.Node[] {
  const children: ts.Node[] = [];
  ts.forEachChild(node, (child) => void children.push(child));
  return children;
}

function isPropertyName(name: ts.Identifier): boolean {
  const { parent } = name;
  return (
    (ts.isPropertyAccessExpression(parent) && parent.name === name) ||
    (ts.isQualifiedName(parent) && parent.right === name) ||
    ((ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent)) && parent.name === name)
  );
}

/**
 * The statements of some cells that others need, directly or for each other, in their order; without the imported names
 * that are not needed, or that were imported above.
 *
 * @param sources the cells that come first.
 * @param later the cells that need them.
 */
export function neededSource(sources: readonly string[], later: readonly string[]): string {
  const all = sources.flatMap(statements);
  const needed = new Set(later.flatMap((source) => statements(source).flatMap(({ uses }) => [...uses])));
  const taken = new Set<Statement>();
  for (let before = -1; before < taken.size;) {
    before = taken.size; // again, because functions and types may be used above their statement
    for (const statement of all.filter(({ declares }) => declares.some((name) => needed.has(name)))) {
      taken.add(statement);
      if (!statement.imported) for (const name of statement.uses) needed.add(name);
    }
  }
  const imported = new Set<string>();
  const texts = all.flatMap((statement) => {
    if (!taken.has(statement)) return [];
    const { imported: names, text, apart } = statement;
    if (!names) return [{ text, apart }];
    const wanted = names.elements.filter(({ name }) => needed.has(name.text) && !imported.has(name.text));
    for (const { name } of wanted) imported.add(name.text);
    const list = wanted.map((element) => element.getText()).join(', ');
    return wanted.length === 0 ? [] : [{ text: text.replace(/\{[^}]*\}/, `{ ${list} }`), apart }];
  });
  return texts.map(({ text, apart }, n) => (n === 0 ? text : `${apart ? '\n\n' : '\n'}${text}`)).join('');
}

/** The cells of this id, except those that only repeat it. */
const originals = (earlier: readonly Notebook[], id: string): Cell[] =>
  earlier.flatMap(codeCells).filter((cell) => cell.id === id && !cell.metadata.alignbook?.repeats);

/** The notebook, its cell that repeats earlier ones with the source that it should have. */
export function filled(notebook: Notebook, earlier: readonly Notebook[]): Notebook {
  const later = codeCells(notebook).slice(1);
  const cells = notebook.cells.map((cell) => {
    const ids = cell.metadata.alignbook?.repeats;
    if (!ids) return cell;
    const sources = ids.flatMap((id) => originals(earlier, id)).map(({ source }) => source);
    return {
      ...cell,
      source: neededSource(
        sources,
        later.map(({ source }) => source),
      ),
    };
  });
  return { ...notebook, cells };
}

/**
 * If a notebook needs something from earlier ones, its first cell, tagged "repeats", has the statements that it needs
 * of them, word for word. The cell is folded, in JupyterLab and in the book.
 */
export function repeats(notebooks: readonly Notebook[]): string[] {
  return notebooks.flatMap((notebook, n) =>
    codeCells(notebook).flatMap((cell, position) => {
      const { repeats: ids, source } = cell.metadata.alignbook ?? {};
      const tagged = cell.metadata.tags?.includes('repeats') ?? false;
      if (!ids && !tagged) return [];
      const where = `${notebook.name}, cell ${cell.id}`;
      if (!ids || !tagged) return [`${where}: the tag "repeats" and metadata.alignbook.repeats go together`];
      if (source !== undefined) return [`${where}: repeats cells, so it cannot mirror a source cell`];
      if (position !== 0) return [`${where}: the cell that repeats others comes first`];
      if (!isFolded(cell)) return [`${where}: fold it with metadata.jupyter.source_hidden and the tag "hide-input"`];
      const unclear = ids.find((id) => originals(notebooks.slice(0, n), id).length !== 1);
      if (unclear !== undefined)
        return [`${where}: repeats "${unclear}", which is not one cell of an earlier notebook`];
      const wanted = filled(notebook, notebooks.slice(0, n)).cells.find(({ id }) => id === cell.id)!.source;
      if (cell.source === wanted) return [];
      const [mine, theirs] = [cell.source.split('\n'), wanted.split('\n')];
      const line = theirs.findIndex((text, i) => text !== mine[i]);
      const at = line < 0 ? theirs.length : line;
      return [
        `${where}: line ${at + 1} differs from what it needs of the cells it repeats (${ids.join(', ')})\n  wanted  ` +
          `${theirs[at] ?? '(end)'}\n  here    ${mine[at] ?? '(end)'}`,
      ];
    }),
  );
}

const isFolded = ({ metadata }: Cell): boolean =>
  metadata.jupyter?.source_hidden === true && (metadata.tags?.includes('hide-input') ?? false);

/** Makes @huggingface/jinja 0.5.11 render like Python's Jinja where the two silently differ. */
import { InputError } from '../errors';

/** A node of a parsed template. The parser of @huggingface/jinja defines the fields of each type. */
interface Node {
  readonly type: string;
  [field: string]: unknown;
}

/**
 * Prepares a template's text for parsing: Python reads every line ending as one character, and a `-}` that closes
 * nothing is text.
 */
export function sourceText(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(/-\}\n/g, "-{{ '}' }}\n");
}

const identifier = (value: string): Node => ({ type: 'Identifier', value });
const call = (name: string, args: readonly unknown[]): Node => ({
  type: 'CallExpression',
  callee: identifier(name),
  args,
});

/** The functions that a rewritten template calls; pass them along with the values to render. */
export const FUNCTIONS: Readonly<Record<string, (...args: unknown[]) => unknown>> = {
  __strip: (text, chars) => stripped(text, chars, 'both'),
  __lstrip: (text, chars) => stripped(text, chars, 'left'),
  __rstrip: (text, chars) => stripped(text, chars, 'right'),
  __capitalize: (text) => {
    const given = asText(text, 'capitalize');
    return given.slice(0, 1).toUpperCase() + given.slice(1).toLowerCase();
  },
  __modulo: (left, right) => {
    if (typeof left !== 'number' || typeof right !== 'number')
      throw new InputError('% is reproduced here only for two numbers');
    return left - right * Math.floor(left / right); // has the divisor's sign
  },
};

function asText(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new InputError(`${what} must be a text here`);
  return value;
}

/** Removes any of the given characters from the chosen ends of a text. */
function stripped(given: unknown, chars: unknown, ends: 'both' | 'left' | 'right'): string {
  const text = asText(given, 'strip');
  const among = new Set(asText(chars, "strip's argument"));
  const all = [...text];
  let [from, to] = [0, all.length];
  if (ends !== 'right') while (from < to && among.has(all[from]!)) from += 1;
  if (ends !== 'left') while (to > from && among.has(all[to - 1]!)) to -= 1;
  return all.slice(from, to).join('');
}

/** Changes a parsed template in place so that it renders as in Python. */
export function likePython(program: { body: unknown[] }): void {
  let loops = 0;
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) {
      const list = value as unknown[];
      list.splice(
        0,
        list.length,
        ...list.flatMap((each) => (isNode(each) && each.type === 'For' ? loop(each) : [visit(each)])),
      );
      return list;
    }
    if (!isNode(value)) return value;
    visitFields(value);
    return rewritten(value);
  };
  /**
   * In Python, each iteration of a loop starts with the variables as they were before the loop; variables set in the
   * previous iteration are gone.
   */
  const loop = (node: Node): unknown[] => {
    const names = [...setIn(node.body as unknown[])];
    visitFields(node);
    loops += 1;
    const kept = names.map((name) => [name, `__before_${loops}_${name}`] as const);
    const set = (name: string, from: string): Node => ({
      type: 'Set',
      assignee: identifier(name),
      value: identifier(from),
      body: [],
    });
    (node.body as unknown[]).unshift(...kept.map(([name, before]) => set(name, before)));
    return [...kept.map(([name, before]) => set(before, name)), node];
  };
  const visitFields = (node: Node): void => {
    for (const [field, child] of Object.entries(node)) node[field] = visit(child);
  };
  visit(program.body);
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';

function rewritten(node: Node): Node {
  if (node.type === 'BinaryExpression' && (node.operator as { value?: unknown }).value === '%')
    return call('__modulo', [node.left, node.right]);
  if (node.type === 'FilterExpression' && isNode(node.filter) && node.filter.value === 'capitalize')
    return call('__capitalize', [node.operand]);
  const { callee, args } = node as { callee?: Node; args?: unknown[] };
  if (
    node.type !== 'CallExpression' ||
    !isNode(callee) ||
    callee.type !== 'MemberExpression' ||
    callee.computed === true
  )
    return node;
  const method = (callee.property as Node).value;
  if (method === 'capitalize') return call('__capitalize', [callee.object]);
  return ['strip', 'lstrip', 'rstrip'].includes(method as string) && args!.length > 0
    ? call(`__${method as string}`, [callee.object, ...args!])
    : node;
}

/** The variables set by statements in this scope, excluding those of an inner loop or macro. */
function setIn(body: readonly unknown[]): Set<string> {
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) return value.forEach(visit);
    if (!isNode(value) || value.type === 'For' || value.type === 'Macro') return;
    if (value.type === 'Set' && isNode(value.assignee) && value.assignee.type === 'Identifier')
      found.add(value.assignee.value as string);
    Object.values(value).forEach(visit);
  };
  visit(body);
  return found;
}

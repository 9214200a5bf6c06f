/**
 * A computation that is repeated with the same operations, such as a step of generation, as one call of TensorFlow
 * instead of hundreds: each call from JavaScript costs some ten microseconds, which is most of a small model's time.
 *
 * At the first call with certain shapes the operations are called and noted (`noted`); they become the nodes of a
 * graph, which that call and later ones run. Everything that comes from outside is fed to the graph, constants too, so
 * one graph serves all shapes with the same operations, and all models of one configuration. Each node waits for the
 * one before it, so TensorFlow neither fuses nor reorders operations. Only its softmax is another in a graph (oneDNN's)
 * and differs in the last bits.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { binding } from '../tf';
import { noted, type Call } from './call';
import { graphFile, TAG, type Names } from './graphFile';
import { contained, Handle, release, type Handles } from './handle';
import { isConstant } from './ops';
import { timed } from './profile';

/** A graph in TensorFlow, and the names of its inputs and its output there, as the binding takes them. */
interface Graph {
  readonly session: number;
  readonly inputs: string;
  readonly output: string;
}

interface Compiled {
  readonly graph: Graph;
  /** What the graph is fed: a place among the arguments, or a constant. */
  readonly feeds: readonly (number | Handle)[];
}

/** By the operations, as a text. Sessions live as long as the process: there is one for each kind of model. */
const graphs = new Map<string, Graph>();

/** By `body`'s key and the shapes of its inputs. */
const compiledBodies = new Map<string, Compiled | typeof WITHOUT_GRAPH>();
/** Of them; the oldest is forgotten, and would be noted again. Each takes about 10 kB. */
const MOST_KEPT = 500;

/**
 * @param key what `body` depends on besides its inputs. Two calls with the same key, and inputs of the same types and
 *   shapes, must call the same operations.
 * @param inputs all tensors that `body` reads, constants apart; some of them it may change in place.
 * @returns the result of `body`, which a graph computes and not the handle that `body` returns. `body` is called first
 *   where no call had these shapes before, so what it changes it must change to the same values again.
 */
export function compiled(key: string, inputs: Handles, body: () => Handle): Handle {
  if (binding.isUsingGpuDevice()) return body(); // a graph's inputs would be copied to the card at each call
  const args = [...contained(inputs)];
  const step = [key, ...args.map(({ dtype, shape }) => `${dtype}:${shape}`)].join('|');
  let known = compiledBodies.get(step);
  if (known === undefined) {
    const { result, calls } = noted(body);
    known = compile(calls, args, result);
    if (compiledBodies.size === MOST_KEPT) compiledBodies.delete(compiledBodies.keys().next().value!);
    compiledBodies.set(step, known);
    release(result); // the graph's own result, so that a number does not depend on what was computed before
  }
  return known === WITHOUT_GRAPH ? body() : run(known, args);
}

/** Where no temporary folder can be written, from which TensorFlow would load a graph. */
const WITHOUT_GRAPH = null;

function run({ graph, feeds }: Compiled, args: readonly Handle[]): Handle {
  const ids = feeds.map((feed) => (typeof feed === 'number' ? args[feed]! : feed).used());
  return new Handle(timed('graph', () => binding.runSavedModel(graph.session, ids, graph.inputs, graph.output))[0]!);
}

function compile(calls: readonly Call[], args: readonly Handle[], result: Handle): Compiled | typeof WITHOUT_GRAPH {
  const places = new Map(args.map((arg, place) => [arg, place]));
  const names = new Map<Handle, string>();
  const fed: Handle[] = [];
  for (const [n, { inputs, outputs }] of calls.entries()) {
    for (const input of inputs) {
      if (names.has(input)) continue;
      if (!places.has(input) && !isConstant(input))
        throw new Error('a compiled computation reads a tensor that is none of its inputs');
      names.set(input, `f${fed.length}:0`);
      fed.push(input);
    }
    outputs.forEach((output, index) => names.set(output, `n${n}:${index}`));
  }
  const graph = graphOf(calls, fed, names, result);
  return graph === WITHOUT_GRAPH ? graph : { graph, feeds: fed.map((input) => places.get(input) ?? input) };
}

function graphOf(
  calls: readonly Call[],
  fed: readonly Handle[],
  names: Names,
  result: Handle,
): Graph | typeof WITHOUT_GRAPH {
  const output = names.get(result)!;
  const node = ({ name, attributes, inputs }: Call) =>
    [name, ...attributes.map(({ value }) => value), ...inputs.map((input) => names.get(input))].join(' ');
  const key = [...fed.map(({ dtype }) => dtype), ...calls.map(node), output].join('\n');
  const known = graphs.get(key);
  if (known) return known;
  const session = load(graphFile(calls, fed, names));
  if (session === WITHOUT_GRAPH) return session;
  const graph = { session, inputs: fed.map((input) => names.get(input)!).join(), output };
  graphs.set(key, graph);
  return graph;
}

/** @returns a session. */
function load(file: Uint8Array): number | typeof WITHOUT_GRAPH {
  let folder: string | undefined;
  try {
    folder = mkdtempSync(join(tmpdir(), 'alignbook-graph-'));
    mkdirSync(join(folder, 'variables')); // TensorFlow looks for it, empty or not
    writeFileSync(join(folder, 'saved_model.pb'), file);
    return binding.loadSavedModel(folder, TAG);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    return WITHOUT_GRAPH;
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}

/** How an operation of TensorFlow is called: by its name, attributes and inputs. */
import { binding, type OpAttribute } from '../tf';
import { Handle } from './handle';
import { timed } from './profile';

/**
 * @param attributes without the types that TensorFlow infers from the inputs: each attribute costs a few microseconds.
 */
export function execute(
  name: string,
  attributes: readonly OpAttribute[],
  inputs: readonly Handle[],
  outputs: number,
): Handle[] {
  const ids = inputs.map((input) => input.used());
  const made = timed(name, () => binding.executeOp(name, attributes, ids, outputs));
  const handles = made.map((metadata) => new Handle(metadata));
  calls?.push({ name, attributes, inputs, outputs: handles });
  return handles;
}

/** An operation as it was called. */
export interface Call {
  readonly name: string;
  readonly attributes: readonly OpAttribute[];
  readonly inputs: readonly Handle[];
  readonly outputs: readonly Handle[];
}

let calls: Call[] | undefined;

/** Runs `body`, and notes the operations that it calls. */
export function noted<Result>(body: () => Result): { result: Result; calls: readonly Call[] } {
  const own: Call[] = (calls = []);
  try {
    return { result: body(), calls: own };
  } finally {
    calls = undefined;
  }
}

export function op(name: string, attributes: readonly OpAttribute[], ...inputs: readonly Handle[]): Handle {
  return execute(name, attributes, inputs, 1)[0]!;
}

export const type = (name: string, value: number): OpAttribute => ({ name, type: binding.TF_ATTR_TYPE, value });
export const bool = (name: string, value: boolean): OpAttribute => ({ name, type: binding.TF_ATTR_BOOL, value });
export const float = (name: string, value: number): OpAttribute => ({ name, type: binding.TF_ATTR_FLOAT, value });
export const int = (name: string, value: number): OpAttribute => ({ name, type: binding.TF_ATTR_INT, value });
export const string = (name: string, value: string): OpAttribute => ({ name, type: binding.TF_ATTR_STRING, value });
export const shapeOf = (name: string, value: readonly number[]): OpAttribute => ({
  name,
  type: binding.TF_ATTR_SHAPE,
  value,
});

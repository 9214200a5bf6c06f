import { binding, type OpAttribute } from '../tf';
import type { Call } from './call';
import type { Handle } from './handle';

/** Operations as they were called -> a graph of TensorFlow, in the form of its file, a SavedModel. */
import proto = require('@tensorflow/tfjs-node-gpu/dist/proto/api_pb');

/** Of the graph within its file. */
export const TAG = 'serve';

/** The version of the operations' definitions that the nodes are written for: any that TensorFlow 2.21 can read. */
const PRODUCER = 1882;

/**
 * The attributes that hold the types of an operation's inputs, in the order of these. Where an operation is called,
 * TensorFlow infers them; in a file they must be given.
 */
const INPUT_TYPES: Readonly<Record<string, readonly (string | null)[]>> = {
  AddV2: ['T', 'T'],
  AlignbookAttendToPast: [null, 'Tcache', 'Tcache', null],
  AlignbookCast: ['Tx'],
  AlignbookFewRows: ['Tx', 'Ty', null],
  AlignbookLayerNorm: [null, null, null],
  AlignbookSigmoidGate: [null],
  BatchMatMulV2: ['T', 'T'],
  BiasAdd: ['T', 'T'],
  Cast: ['SrcT'],
  Erf: ['T'],
  GatherV2: ['Tparams', 'Tindices', 'Taxis'],
  InplaceUpdate: ['T', null, 'T'],
  MatMul: ['T', 'T'],
  Mean: ['T', 'Tidx'],
  Mul: ['T', 'T'],
  Relu: ['T'],
  Reshape: ['T', 'Tshape'],
  Rsqrt: ['T'],
  Sigmoid: ['T'],
  Slice: ['T', 'Index', 'Index'],
  Softmax: ['T'],
  Split: [null, 'T'],
  Square: ['T'],
  SquaredDifference: ['T', 'T'],
  Sub: ['T', 'T'],
  Sum: ['T', 'Tidx'],
  Transpose: ['T', 'Tperm'],
};

/** Where each tensor comes from: a placeholder, as in `f3:0`, or a node's output, as in `n3:1`. */
export type Names = ReadonlyMap<Handle, string>;

/**
 * @param calls become the nodes `n0`, `n1`, and so on, each of which waits for the one before.
 * @param fed the tensors that come from outside; they become the placeholders `f0`, `f1`, and so on, of any shape.
 * @param names of all tensors.
 * @throws Error for an operation that is not in the table above.
 */
export function graphFile(calls: readonly Call[], fed: readonly Handle[], names: Names): Uint8Array {
  const graph = new proto.GraphDef();
  const versions = new proto.VersionDef();
  versions.setProducer(PRODUCER);
  graph.setVersions(versions);
  fed.forEach(({ dtype }, n) => graph.addNode(node(`f${n}`, 'Placeholder', [], [['dtype', typeValue(dtype)]])));
  calls.forEach(({ name, attributes, inputs }, n) => {
    const types = INPUT_TYPES[name];
    if (types === undefined) throw new Error(`graphFile.ts lacks the types of ${name}`);
    const after = n === 0 ? [] : [`^n${n - 1}`];
    graph.addNode(
      node(
        `n${n}`,
        name,
        [...inputs.map((input) => names.get(input)!), ...after],
        [
          ...types.flatMap((type, i) => (type === null ? [] : [[type, typeValue(inputs[i]!.dtype)] as const])),
          ...attributes.map((attribute) => [attribute.name, attributeValue(attribute)] as const),
        ],
      ),
    );
  });
  return savedModel(graph);
}

function node(
  name: string,
  op: string,
  inputs: readonly string[],
  attributes: readonly (readonly [string, proto.AttrValue])[],
): proto.NodeDef {
  const made = new proto.NodeDef();
  made.setName(name);
  made.setOp(op);
  made.setInputList([...inputs]);
  for (const [key, value] of attributes) made.getAttrMap().set(key, value);
  return made;
}

function typeValue(dtype: number): proto.AttrValue {
  const value = new proto.AttrValue();
  value.setType(dtype);
  return value;
}

function attributeValue({ name, type, value: given }: OpAttribute): proto.AttrValue {
  const value = new proto.AttrValue();
  if (type === binding.TF_ATTR_TYPE) value.setType(given as number);
  else if (type === binding.TF_ATTR_BOOL) value.setB(given as boolean);
  else if (type === binding.TF_ATTR_INT) value.setI(given as number);
  else if (type === binding.TF_ATTR_FLOAT) value.setF(given as number);
  else throw new Error(`graphFile.ts cannot write the attribute ${name}`);
  return value;
}

function savedModel(graph: proto.GraphDef): Uint8Array {
  const info = new proto.MetaGraphDef.MetaInfoDef();
  info.addTags(TAG);
  const meta = new proto.MetaGraphDef();
  meta.setMetaInfoDef(info);
  meta.setGraphDef(graph);
  const file = new proto.SavedModel();
  file.setSavedModelSchemaVersion(1);
  file.addMetaGraphs(meta);
  return file.serializeBinary();
}

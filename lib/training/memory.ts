/** How much memory a training takes, from the sizes of its model and of its batch, before anything is loaded. */
import { keepsGate } from '../engine/layers';
import type { GPT2Config } from '../formats/config';
import type { HeldDType } from '../model/checkpointWeights';
import type { LoraTarget } from '../model/lora';
import { weightShapes } from '../model/weightShapes';

/** What is computed at once: a batch, or with `accumulation` one part of it. */
export interface TrainingShape {
  /** N: tokens, without padding; a prompt that responses share counts once. */
  readonly tokens: number;
  /** B and T of the layout, for attention. */
  readonly rows: number;
  readonly rowLength: number;
  /** M: tokens whose log-probs are computed; none for a reward model. */
  readonly scored: number;
}

export interface MemoryOptions {
  /** Train adapters of this rank. Default: train every weight. */
  readonly loraRank?: number | undefined;
  /** Default attn.c_attn. */
  readonly loraTargets?: readonly LoraTarget[] | undefined;
  readonly baseDtype?: HeldDType | undefined;
  readonly gradientCheckpointing?: boolean | undefined;
  /** Whether a reference model of the same size is held besides, in float32. Default false. */
  readonly reference?: boolean | undefined;
  /** For PPO and GRPO: rows that are sampled at once, each of `rowLength` tokens. Default 0. */
  readonly sampled?: number | undefined;
}

/** Bytes. */
export interface TrainingMemory {
  /** The model's weights, adapters included. */
  readonly weights: number;
  /** AdamW's two moments of each trained weight. */
  readonly moments: number;
  readonly reference: number;
  /** The gradients of all trained weights: at the end of the backward pass. */
  readonly gradients: number;
  /** What is kept of the blocks, and the tensors over the vocabulary: at the end of the forward pass. */
  readonly activations: number;
  /** The largest that is held at one time. */
  readonly peak: number;
}

const FLOAT = 4;

/**
 * The tensors of a training step, without Node and TensorFlow themselves, and without the texts. For measured peaks see
 * "What fits where" in docs/performance.md.
 *
 * Lasting are weights, moments and the reference. Beside these, most is held at the end of the forward pass, at the
 * beginning of the backward pass, at its end, or while sampling.
 */
export function trainingMemory(
  config: GPT2Config,
  { tokens: N, rows: B, rowLength: T, scored: M }: TrainingShape,
  options: MemoryOptions = {},
): TrainingMemory {
  const { loraRank, loraTargets, baseDtype, reference, sampled = 0 } = options;
  const isCheckpointed = options.gradientCheckpointing === true;
  const { nLayer, nEmbd: C, nInner = 4 * C, nHead, vocabSize: V } = config;
  const shapes = [...weightShapes(config)];
  const all = numbers(shapes);
  const adapted = loraRank === undefined ? [] : adaptedShapes(shapes, loraTargets);
  // A [in, rank] and B [rank, out] of each
  const adapters = adapted.reduce((sum, [, [from, to]]) => sum + loraRank! * (from! + to!), 0);
  const trained = loraRank === undefined ? all : adapters;
  const isRounded = ([name, shape]: Shapes[number]) => name.startsWith('h.') && shape.length > 1;
  const rounded = baseDtype === 'BF16' ? numbers(shapes.filter(isRounded)) : 0;
  const lasting = {
    weights: FLOAT * (all + adapters) - 2 * rounded,
    moments: 2 * FLOAT * trained,
    reference: reference === true ? FLOAT * all : 0,
  };

  // Two layer norms with a deviation each, the inputs of attention and MLP, attention's output; what goes into the
  // MLP's activation and comes out, and maybe its gate; in padded rows queries, keys, values and their mixture; the
  // weights of attention.
  const wide = keepsGate(config.activation ?? 'gelu_new') ? 3 : 2;
  const block = FLOAT * (N * (5 * C + 2 + wide * nInner) + 4 * B * T * C + nHead * B * T * T);
  const kept = nLayer * (isCheckpointed ? FLOAT * N * C : block);
  // The logits; their gradient is as large, and measured peaks show about a third such tensor.
  const ofVocabulary = FLOAT * M * V;
  const gradients = FLOAT * trained;
  const ofHead = loraRank === undefined ? Math.min(ofVocabulary, FLOAT * V * C) : 0; // of wte, maybe as two factors
  const work = (isCheckpointed ? 2 : 1) * block; // a block's backward takes about what its forward keeps
  // cached keys and values; and for all of its tokens, sampling adds the adapters to their matrices once
  const sampling = sampled === 0 ? 0 : FLOAT * (2 * nLayer * sampled * T * C + numbers(adapted));
  const peak = Math.max(kept + 3 * ofVocabulary, kept + ofHead + work, gradients + work, sampling);
  const { weights, moments } = lasting;
  return {
    ...lasting,
    gradients,
    activations: kept + 2 * ofVocabulary,
    peak: weights + moments + lasting.reference + peak,
  };
}

type Shapes = readonly (readonly [name: string, shape: readonly number[]])[];

const numbers = (shapes: Shapes): number =>
  shapes.reduce((sum, [, shape]) => sum + shape.reduce((product, length) => product * length, 1), 0);

const adaptedShapes = (shapes: Shapes, targets: readonly LoraTarget[] = ['attn.c_attn']): Shapes =>
  shapes.filter(([name]) => targets.some((target) => name.endsWith(`.${target}.weight`)));

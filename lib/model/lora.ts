/**
 * LoRA (arXiv 2106.09685): the matrices of a model stay fixed, and a low-rank difference is learned for each:
 * W + (alpha / rank) A B, with W [in, out], A [in, rank] and B [rank, out]. Departures: A is drawn as the authors' code
 * and PEFT draw it, uniform within 1 / sqrt(in) (`kaiming_uniform_` with a = sqrt(5)), where the paper says Gaussian;
 * there is no dropout.
 */
import { multiplied, type Gradient } from '../engine/gradients';
import { currentScope, scope, type Handle } from '../engine/handle';
import type { WeightGradients } from '../engine/layers';
import { add, fill, floats, inFloat32, mul, readVariable, scalar, variable } from '../engine/ops';
import { asFactor, matmul } from '../engine/products';
import { Variables } from '../engine/variables';
import { InputError } from '../errors';
import { readPeftAdapter, type LowRank } from '../formats/peftAdapter';
import type { Random } from '../random';
import { RANGES, requireRange } from '../ranges';
import { requireFit } from './adapters';
import { GPT2 } from './gpt2';
import { Weights, type Trainable } from './weights';

const TARGETS = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'] as const;
export type LoraTarget = (typeof TARGETS)[number];

export interface LoraOptions {
  /** From 1 up to the smaller side of each matrix. */
  rank: number;
  /** The difference is scaled by alpha / rank. Default 2 rank. */
  alpha?: number;
  /** The matrices to adapt, in every block. Default `attn.c_attn`, as in PEFT for GPT-2. */
  targets?: readonly LoraTarget[];
}

/**
 * A view of `base` with adapters, the only weights that a trainer changes: `weights.trained` holds them as
 * `h.0.attn.c_attn.lora_A` and `.lora_B`. B begins at 0, so the view begins equal to the base. The view shares the
 * base's variables, so dispose of it first, which frees only the adapters. The base itself does not change and can
 * serve as DPO's reference; `weights.values` and an export give the merged weights.
 *
 * @param random draws A.
 * @throws InputError if an option is out of its range.
 */
export function lora(base: GPT2, options: LoraOptions, random: Random): GPT2 {
  const { rank, alpha = 2 * rank, targets = ['attn.c_attn'] } = options;
  const { config, weights } = base;
  const unknown = targets.find((target) => !TARGETS.includes(target));
  if (unknown !== undefined)
    throw new InputError(
      `targets holds ${JSON.stringify(unknown)}, which cannot be adapted; choose from ${TARGETS.join(', ')}`,
    );
  const adapted = weights.names.filter((name) => targets.some((target) => name.endsWith(`.${target}.weight`)));
  if (adapted.length === 0)
    throw new InputError('targets is empty, so there is nothing to train; name at least one matrix');
  const most = Math.min(...adapted.flatMap((name) => weights.shape(name)));
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= most))
    throw new InputError(
      `rank must be a whole number from 1 to ${most}, the smaller side of the matrices, got ${rank}`,
    );
  requireRange('alpha', alpha, RANGES.run.loraAlpha);
  const scales = new Map(adapted.map((name) => [name, alpha / rank]));
  return new GPT2(config, new AdaptedWeights(weights, adapters(weights, adapted, rank, random), scales, false));
}

/**
 * A view of `base` with a PEFT adapter's matrices as the weights to train, as PEFT's `is_trainable=True` gives it. The
 * view owns only the adapter, as that of `lora` does.
 *
 * @param base the model to which the adapter belongs, without it: `GPT2.fromPretrained` of an adapter's own name gives
 *   a model that has it merged already.
 * @param folder a folder with adapter_config.json and adapter_model.safetensors.
 * @throws FileError if the adapter is malformed, or has something that is not supported, or does not fit the base.
 */
export function loadAdapter(base: GPT2, folder: string): GPT2 {
  const { differences } = readPeftAdapter(folder);
  requireFit(base.weights, differences, folder);
  const scales = new Map([...differences].map(([name, { scale }]) => [name, scale]));
  const variables = new Map<string, Handle>();
  const shapes = new Map<string, readonly number[]>();
  for (const name of base.weights.names) {
    const difference = differences.get(name);
    if (difference === undefined) continue;
    const { a, b, rank } = difference;
    const [from, to] = difference.shape;
    shapes.set(nameA(name), [from, rank]).set(nameB(name), [rank, to]);
    variables.set(nameA(name), variable(floats(a, [from, rank]))).set(nameB(name), variable(floats(b, [rank, to])));
  }
  return new GPT2(base.config, new AdaptedWeights(base.weights, new Variables(variables, shapes), scales, true));
}

export interface Adapters {
  /** By the names of the matrices. */
  readonly differences: ReadonlyMap<string, LowRank>;
  /** Whether they began as an adapter that was loaded, rather than beside the model's weights. */
  readonly continued: boolean;
}

/** The adapters of a model that `lora` or `loadAdapter` made; undefined for any other model. */
export function adaptersOf({ weights }: Trainable): Adapters | undefined {
  return weights instanceof AdaptedWeights
    ? { differences: weights.differences(), continued: weights.continued }
    : undefined;
}

/**
 * A plain model with the merged weights, which shares nothing with `model`: generating with it does not add the
 * adapters again for each token.
 */
export function merged({ config, weights }: GPT2): GPT2 {
  return new GPT2(config, Weights.from(new Map(weights.names.map((name) => [name, weights.values(name)])), config));
}

const nameA = (name: string): string => name.replace(/weight$/, 'lora_A');
const nameB = (name: string): string => name.replace(/weight$/, 'lora_B');

function adapters(weights: Weights, adapted: readonly string[], rank: number, random: Random): Variables {
  const variables = new Map<string, Handle>();
  const shapes = new Map<string, readonly number[]>();
  for (const name of adapted) {
    const [from, to] = weights.shape(name) as [number, number];
    const a = Float32Array.from({ length: from * rank }, () => (2 * random.uniform() - 1) / Math.sqrt(from));
    shapes.set(nameA(name), [from, rank]).set(nameB(name), [rank, to]);
    variables.set(nameA(name), variable(floats(a, [from, rank]))).set(nameB(name), variable(fill([rank, to], 0)));
  }
  return new Variables(variables, shapes);
}

/** GPT-2's weights with the adapters added, under GPT-2's own names; `variable` and `assign` are those of the base. */
class AdaptedWeights extends Weights {
  readonly #adapters: Variables;
  /** alpha / rank of each adapted matrix. */
  readonly #scales: ReadonlyMap<string, number>;

  constructor(
    base: Weights,
    adapters: Variables,
    scales: ReadonlyMap<string, number>,
    readonly continued: boolean,
  ) {
    super(
      new Map(base.names.map((name) => [name, base.variable(name)])),
      new Map(base.names.map((name) => [name, base.shape(name)])),
    );
    this.#adapters = adapters;
    this.#scales = scales;
  }

  override get trained(): Variables {
    return this.#adapters;
  }

  differences(): Map<string, LowRank> {
    const all = [...this.#scales].map(([name, scale]): [string, LowRank] => {
      const [a, b] = [this.#adapters.values(nameA(name)), this.#adapters.values(nameB(name))];
      const [from, rank] = this.#adapters.shape(nameA(name)) as [number, number];
      const [, to] = this.#adapters.shape(nameB(name)) as [number, number];
      return [name, { a, b, shape: [from, to], rank, scale }];
    });
    return new Map(all);
  }

  override values(name: string): Float32Array {
    return scope(() => inFloat32(this.read(name)).values() as Float32Array);
  }

  /** W + scale A B, computed wherever a layer's forward or backward reads it. */
  override read(name: string): Handle {
    if (!this.#isAdapted(name)) return super.read(name);
    return scope(() => {
      const difference = matmul(this.#scaled(name, nameA(name)), readVariable(this.#adapters.variable(nameB(name))));
      return add(inFloat32(super.read(name)), difference);
    });
  }

  /**
   * From dW [in, out], the gradient of the sum: dA = scale dW B' [in, rank] and dB = scale A' dW [rank, out]. dW itself
   * is freed.
   */
  override gradients(made: Map<string, Gradient>, wanted: (name: string) => boolean): WeightGradients {
    const owner = currentScope();
    const wants = (name: string) => this.#isAdapted(name) && (wanted(nameA(name)) || wanted(nameB(name)));
    const put = (name: string, make: () => Gradient) => {
      if (!wants(name)) return;
      scope(() => {
        const dW = asFactor(multiplied(make()));
        const [a, b] = [this.#scaled(name, nameA(name)), this.#scaled(name, nameB(name))];
        if (wanted(nameA(name))) made.set(nameA(name), owner.adopt(matmul(dW, b, { transposeY: true })));
        if (wanted(nameB(name))) made.set(nameB(name), owner.adopt(matmul(a, dW, { transposeX: true })));
      });
    };
    return { wants, put };
  }

  #isAdapted(name: string): boolean {
    return this.#scales.has(name);
  }

  /** A or B of a matrix, times the matrix's scale. */
  #scaled(matrix: string, name: string): Handle {
    return scope(() => mul(readVariable(this.#adapters.variable(name)), scalar(this.#scales.get(matrix)!)));
  }

  override dispose(): void {
    this.#adapters.dispose();
  }
}

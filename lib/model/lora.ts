/**
 * LoRA (arXiv 2106.09685): a model whose matrices stay as they are, and learn a difference of low rank: W + (alpha /
 * rank) A B, with
 * W [in, out], A [in, rank] and B [rank, out]. Departures: A begins as the authors' code and PEFT draw it, uniform
 * within
 * 1 / sqrt(in) (`kaiming_uniform_` with a = sqrt(5)), where the paper says Gaussian; no dropout.
 */
import { multiplied, type Gradient } from '../engine/embeddingGradient';
import type { Handle } from '../engine/handle';
import type { WeightGradients } from '../engine/layers';
import { add, fill, floats, matmul, mul, readVariable, scalar, variable } from '../engine/ops';
import { Variables } from '../engine/variables';
import { InputError } from '../errors';
import type { Random } from '../random';
import { RANGES, requireRange } from '../ranges';
import { GPT2 } from './gpt2';
import { Weights } from './weights';

const TARGETS = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'] as const;
export type LoraTarget = (typeof TARGETS)[number];

export interface LoraOptions {
  /** From 1 up to the smaller side of each matrix. */
  rank: number;
  /** The difference is scaled by alpha / rank. Default 2 rank. */
  alpha?: number;
  /** The matrices that are adapted, in every block. Default `attn.c_attn`, as PEFT's for GPT-2. */
  targets?: readonly LoraTarget[];
}

/**
 * A view of `base` with adapters, which alone a trainer changes: `weights.trained` has them, as
 * `h.0.attn.c_attn.lora_A` and
 * `.lora_B`. B begins at 0, and so the view as the base. The view shares the base's variables, so dispose of it first,
 * which
 * frees the adapters alone. The base remains what it was, DPO's reference, say; `weights.values` and an export give the
 * merged weights.
 *
 * @param random draws A.
 * @throws InputError if an option is out of its range.
 */
export function lora(base: GPT2, options: LoraOptions, random: Random): GPT2 {
  const { rank, alpha = 2 * rank, targets = ['attn.c_attn'] } = options;
  const { config, weights } = base;
  const unknown = targets.find((target) => !TARGETS.includes(target));
  if (unknown !== undefined)
    throw new InputError(`targets: there is no "${unknown}" to adapt; there are ${TARGETS.join(', ')}`);
  const adapted = weights.names.filter((name) => targets.some((target) => name.endsWith(`.${target}.weight`)));
  if (adapted.length === 0) throw new InputError('targets is empty, so that nothing is left to train');
  const most = Math.min(...adapted.flatMap((name) => weights.shape(name)));
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= most))
    throw new InputError(
      `rank must be a whole number from 1 to ${most}, the smaller side of the matrices, got ${rank}`,
    );
  requireRange('alpha', alpha, RANGES.run.loraAlpha);
  return new GPT2(config, new AdaptedWeights(weights, adapters(weights, adapted, rank, random), alpha / rank));
}

/**
 * A plain model of the merged weights, which shares nothing with `model`: it generates without adding the adapters up
 * for each token.
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

/** GPT-2's weights with the adapters added, by GPT-2's own names; `variable` and `assign` are the base's. */
class AdaptedWeights extends Weights {
  constructor(
    base: Weights,
    private readonly adapters: Variables,
    private readonly scale: number,
  ) {
    super(
      new Map(base.names.map((name) => [name, base.variable(name)])),
      new Map(base.names.map((name) => [name, base.shape(name)])),
    );
  }

  override get trained(): Variables {
    return this.adapters;
  }

  override values(name: string): Float32Array {
    using handle = this.read(name);
    return handle.values() as Float32Array;
  }

  /** W + scale A B, which is made for each reader, of a forward or a backward pass, say. */
  protected override read(name: string): Handle {
    if (!this.#isAdapted(name)) return super.read(name);
    using w = super.read(name);
    using a = this.#scaled(nameA(name));
    using b = readVariable(this.adapters.variable(nameB(name)));
    using difference = matmul(a, b);
    return add(w, difference);
  }

  /**
   * From dW [in, out], the gradient of the sum: dA = scale dW B' [in, rank] and dB = scale A' dW [rank, out]. dW itself
   * is not kept.
   */
  override gradients(made: Map<string, Gradient>, wanted: (name: string) => boolean): WeightGradients {
    const wants = (name: string) => this.#isAdapted(name) && (wanted(nameA(name)) || wanted(nameB(name)));
    const put = (name: string, make: () => Gradient) => {
      if (!wants(name)) return;
      using dW = multiplied(make());
      using a = this.#scaled(nameA(name));
      using b = this.#scaled(nameB(name));
      if (wanted(nameA(name))) made.set(nameA(name), matmul(dW, b, { transposeY: true }));
      if (wanted(nameB(name))) made.set(nameB(name), matmul(a, dW, { transposeX: true }));
    };
    return { wants, put };
  }

  #isAdapted(name: string): boolean {
    return this.adapters.names.includes(nameA(name));
  }

  #scaled(name: string): Handle {
    using values = readVariable(this.adapters.variable(name));
    using scale = scalar(this.scale);
    return mul(values, scale);
  }

  override dispose(): void {
    this.adapters.dispose();
  }
}

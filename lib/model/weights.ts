/** GPT-2's weights as TensorFlow variables, under GPT-2's own names. */
import type { Gradient } from '../engine/gradients';
import { currentScope, scope, type Handle } from '../engine/handle';
import type { WeightGradients } from '../engine/layers';
import { floats, readVariable, variable } from '../engine/ops';
import { Variables } from '../engine/variables';
import type { GPT2Config } from '../formats/config';
import { readCheckpointWeights, type Heads, type HeldDType } from './checkpointWeights';
import { LM_HEAD, weightShapes } from './weightShapes';

/** A model whose weights a trainer changes. */
export interface Trainable {
  readonly config: GPT2Config;
  readonly weights: Weights;
  /** For a reward model: decides where its scores are read (see `RewardModel`). */
  readonly padTokenId?: number | null;
}

export class Weights extends Variables {
  /**
   * Reads a model folder's model.safetensors or its shards: F32, F16 or BF16, keys with or without the prefix
   * `transformer.`, `module.` or `_orig_mod.`. A value head (`v_head.…`) is ignored, with a line on standard error.
   *
   * @param dtype how the matrices of the blocks are held, see `LoadOptions`.
   * @throws FileError if a file is malformed, or a tensor is missing, unknown, or not of the config's shape.
   */
  static load(folder: string, config: GPT2Config, heads: Heads = {}, dtype: HeldDType = 'F32'): Weights {
    return new Weights(readCheckpointWeights(folder, config, heads, dtype), weightShapes(config, heads));
  }

  /** From one array per weight, of the weight's size. The arrays must not be changed afterwards. */
  static from(values: ReadonlyMap<string, Float32Array>, config: GPT2Config, heads: Heads = {}): Weights {
    const shapes = weightShapes(config, heads);
    return new Weights(
      new Map([...shapes].map(([name, shape]) => [name, variable(floats(values.get(name)!, shape))])),
      shapes,
    );
  }

  /** The matrix [V, C] that turns hidden states into logits. */
  get headName(): string {
    return this.names.includes(LM_HEAD) ? LM_HEAD : 'wte.weight';
  }

  get hasValueHead(): boolean {
    return this.names.includes('v_head.weight');
  }

  /** The variables that a trainer changes and a checkpoint keeps: here, the weights themselves. */
  get trained(): Variables {
    return this;
  }

  /**
   * A weight's present value, which belongs to the innermost scope: a value that has to be computed, such as a sum with
   * an adapter, is freed with the layer that read it.
   */
  read(name: string): Handle {
    return readVariable(this.variable(name));
  }

  /**
   * Receives the gradients of the weights, and puts those of `trained` that are wanted into `made`; they belong to the
   * scope now open, also when an inner one makes them.
   */
  gradients(made: Map<string, Gradient>, wanted: (name: string) => boolean): WeightGradients {
    const owner = currentScope();
    return { wants: wanted, put: (name, make) => void (wanted(name) && made.set(name, owner.adopt(scope(make)))) };
  }
}

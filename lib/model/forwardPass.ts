/** Forward pass -> loss -> gradients of the weights: what a training step is made of. */
import { Gradients, type Gradient } from '../engine/gradients';
import { release, scope, type Handles } from '../engine/handle';
import { hiddenStatesBackward, type HiddenStatesSaved } from '../engine/hiddenStates';
import type { Read, WeightGradients } from '../engine/layers';
import { floats } from '../engine/ops';
import { InputError } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { ResponseBatch } from '../text/responseBatch';
import { freeTape, tf } from '../tf';
import { scoreTokensBackward, type HeadsSaved, type TokenScores, type TokenStatistics } from './heads';
import type { Weights } from './weights';

/** The part of the forward pass that the backward pass needs. */
export type Saved = HiddenStatesSaved & { readonly heads: HeadsSaved };

export interface RecordOptions {
  /**
   * Keep only each block's input, and compute the rest again in the backward pass: the gradients have the same bits,
   * for less memory and about a fifth more time. Default false.
   */
  gradientCheckpointing?: boolean | undefined;
}

/** What a forward pass keeps of each block. */
export type KeptForBackward = 'activations' | 'inputs';

export const keptForBackward = ({ gradientCheckpointing = false }: RecordOptions): KeptForBackward =>
  gradientCheckpointing ? 'inputs' : 'activations';

/**
 * Owns its activations and its tensors: dispose of it after use, also when no backward pass followed. `using` does so
 * even if a loss throws.
 */
export abstract class DifferentiablePass<Saved extends Handles> implements Disposable {
  #saved: Saved | undefined;
  readonly #tensors: readonly tf.Tensor[];

  /** Takes over both arguments. */
  constructor(saved: Saved, tensors: readonly tf.Tensor[]) {
    this.#saved = saved;
    this.#tensors = tensors;
  }

  /**
   * Runs a backward pass once, and frees the activations.
   *
   * @param weights whose gradients `backward` puts.
   * @param wanted tells for each weight whether its gradient is wanted.
   * @throws InputError if a backward pass was run before, or this object was disposed of.
   */
  protected runBackward(
    weights: Weights,
    wanted: (name: string) => boolean,
    backward: (saved: Saved, gradients: WeightGradients) => void,
  ): Gradients {
    const saved = this.#saved;
    if (saved === undefined)
      throw new InputError(
        'this forward pass has already been used for a backward pass, or was disposed of; record the batch again',
      );
    this.#saved = undefined;
    try {
      const made = scope(() => {
        const byName = new Map<string, Gradient>();
        backward(saved, weights.gradients(byName, wanted));
        return byName;
      });
      return new Gradients(made);
    } finally {
      release(saved);
    }
  }

  /** Frees the activations and the tensors. */
  [Symbol.dispose](): void {
    release(this.#saved);
    this.#saved = undefined;
    tf.dispose([...this.#tensors]);
  }
}

/** GPT-2's forward pass over a batch, with the log-prob of each of the responses' tokens. */
export class ForwardPass extends DifferentiablePass<Saved> {
  readonly #batch: ResponseBatch;
  readonly #config: GPT2Config;
  readonly #weights: Weights;
  readonly #temperature: number;
  /** [R, L] float32, in nats: log p(token | everything before it), 0 after a response's end. */
  readonly perTokenLogps: tf.Tensor2D;
  /**
   * [R, L] float32, if the model has a value head: the return it expects from the state before each token, 0 after a
   * response's end.
   */
  readonly values?: tf.Tensor2D;
  /** [R, L] int32: 1 on the responses' tokens. */
  readonly responseMask: tf.Tensor2D;
  /** If they were asked for. */
  readonly statistics?: TokenStatistics;

  constructor(
    batch: ResponseBatch,
    config: GPT2Config,
    weights: Weights,
    { logps, values, statistics, saved }: TokenScores & { saved: Saved },
    temperature: number,
  ) {
    const perTokenLogps = byResponse(logps, batch);
    const responseMask = tf.tensor2d(batch.responseMask, [...batch.responses], 'int32');
    const perTokenValues = values && byResponse(values, batch);
    super(saved, [perTokenLogps, responseMask, ...(perTokenValues ? [perTokenValues] : [])]);
    this.#batch = batch;
    this.#config = config;
    this.#weights = weights;
    this.#temperature = temperature;
    this.perTokenLogps = perTokenLogps;
    this.responseMask = responseMask;
    if (perTokenValues) this.values = perTokenValues;
    if (statistics) this.statistics = statistics;
  }

  /**
   * From the gradient of a loss with respect to `perTokenLogps`, and with respect to `values` where it depends on them,
   * to the gradients with respect to `weights.trained`, whose values must still be those of the forward pass. Frees the
   * activations on the way.
   *
   * @param gradient [R, L] float32; its elements where `responseMask` is 0 are ignored.
   * @param wanted tells for each weight whether its gradient is wanted; the pass goes no deeper than the lowest block
   *   with such a weight. Default: all.
   * @param valueGradient [R, L] float32, for a model with a value head.
   * @throws InputError if a shape does not fit, the model has no values, or this forward pass was used before.
   */
  backward(
    gradient: tf.Tensor2D,
    wanted: (name: string) => boolean = () => true,
    valueGradient?: tf.Tensor2D,
  ): Gradients {
    const dLogps = this.#ofTokens('gradient', gradient);
    const dValues = valueGradient && this.#ofTokens('valueGradient', valueGradient);
    if (dValues && !this.values)
      throw new InputError('this model has no value head, so there is no gradient of values');
    const dLosses = dLogps.map((dLogp) => -dLogp / this.#temperature); // a loss is -log p, and the logits were divided

    return this.runBackward(this.#weights, wanted, ({ heads, ...below }, gradients) => {
      const read: Read = (name) => this.#weights.read(name);
      const { dHidden, dHead } = scoreTokensBackward(
        floats(dLosses, [dLosses.length, 1]),
        dValues && floats(dValues, [dValues.length, 1]),
        heads,
        read,
        this.#weights,
        gradients,
      );
      hiddenStatesBackward(dHidden, below, read, this.#config, this.#weights.names, gradients, dHead);
    });
  }

  /** [R, L] -> [M]. */
  #ofTokens(name: string, gradient: tf.Tensor2D): Float32Array {
    const { responses, scored } = this.#batch;
    if (gradient.shape.join() !== responses.join())
      throw new InputError(`${name} must have shape [${responses}], got [${gradient.shape}]`);
    const values = gradient.dataSync<'float32'>();
    return Float32Array.from(scored.to, (element) => values[element]!);
  }
}

/** Owns `gradients`: dispose of it after the backward pass. */
export interface LossGradient<Inputs extends readonly tf.Tensor[]> extends Disposable {
  /** The loss. */
  readonly value: number;
  /** The gradient with respect to each input, of its shape. */
  readonly gradients: Inputs;
}

/**
 * Computes a loss and its gradients. Frees everything that `loss` makes, also when it throws. The inputs stay yours; as
 * a rule they belong to the forward pass:
 *
 *     using pass = model.record(batch);
 *     using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => …);
 *     const gradients = pass.backward(loss.gradients[0]);
 *
 * @param inputs float32 tensors, on each of which the loss depends.
 * @param loss is differentiated with respect to its arguments only: inside it, `pass.perTokenLogps` is a constant.
 */
export function differentiate<Inputs extends readonly [tf.Tensor, ...tf.Tensor[]]>(
  inputs: Inputs,
  loss: (...inputs: Inputs) => tf.Scalar,
): LossGradient<Inputs> {
  const variables = inputs.map((input) => input.clone()); // what tfjs's tape follows
  try {
    const { value, grads } = tf.valueAndGrads((...xs) => loss(...(xs as unknown as Inputs)))(variables);
    const number = value.dataSync()[0]!;
    value.dispose();
    return {
      value: number,
      gradients: grads as unknown as Inputs,
      [Symbol.dispose]: () => tf.dispose(grads),
    };
  } catch (error) {
    freeTape();
    throw error;
  } finally {
    tf.dispose(variables);
  }
}

/** One value per scored token, [M] -> [R, L], 0 after a response's end. */
export function byResponse(ofTokens: Float32Array, { scored, responses }: ResponseBatch): tf.Tensor2D {
  const values = new Float32Array(responses[0] * responses[1]);
  scored.to.forEach((element, n) => (values[element] = ofTokens[n]!));
  return tf.tensor2d(values, [...responses]);
}

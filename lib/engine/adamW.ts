/**
 * One step of AdamW (arXiv 1711.05101), in place, as torch.optim.AdamW takes it: w -= lr weightDecay w, then Adam with
 * bias correction, with epsilon added after the correction.
 *
 * On a CPU this is one operation, one pass over memory (`AlignbookAdamW`, scripts/setup/operations/adamw.cc). On a GPU,
 * and where something else may share the memory of a variable, these are TensorFlow's own operations; on x86 they
 * compute the same bits in more than twice the time.
 */
import { hasAdamW } from '../tf';
import { execute } from './call';
import type { Gradients } from './gradients';
import { release, scope, type Handle } from './handle';
import { applyAdam, assignSub, floats, isUnshared, mul, readVariable, scalar, type AdamScalars } from './ops';

/** Variables of one shape: a weight, and its two moments. */
export interface AdamWState {
  readonly weight: Handle;
  readonly m: Handle;
  readonly v: Handle;
}

export interface AdamWOptions {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** What the updates of all weights in one step have in common. Dispose of it. */
export class AdamWStep implements Disposable {
  readonly #options: AdamWOptions;
  readonly #step: number;
  /** By how much of itself a weight shrinks; 0 where w - rate w would be w in float32. */
  readonly #rate: number;
  /** TensorFlow adds epsilon to sqrt(v), PyTorch to sqrt(v / (1 - beta2^t)). */
  readonly #epsilon: number;
  /** Made once for all weights, because on a GPU each is copied to the card. */
  #scalars: (AdamScalars & { readonly rate: Handle }) | undefined;

  /** @param step from 1. */
  constructor(options: AdamWOptions, step: number) {
    const { lr, weightDecay, epsilon, beta2 } = options;
    this.#options = options;
    this.#step = step;
    this.#rate = Math.fround(1 - lr * weightDecay) < 1 ? lr * weightDecay : 0;
    this.#epsilon = epsilon * Math.sqrt(1 - beta2 ** step);
  }

  /**
   * Takes the gradient of `name` from `gradients`, and updates the variables with it.
   *
   * @param decays whether weight decay applies to this weight.
   * @throws RangeError if there is no such gradient.
   */
  update(state: AdamWState, gradients: Gradients, name: string, decays: boolean): void {
    const rate = decays ? this.#rate : 0;
    if (canChangeInPlace(state)) this.#inOnePass(state, gradients, name, rate);
    else this.#byTensorFlow(state, gradients, name, rate);
  }

  [Symbol.dispose](): void {
    release(this.#scalars);
  }

  #inOnePass({ weight, m, v }: AdamWState, gradients: Gradients, name: string, rate: number): void {
    const { beta1, beta2 } = this.#options;
    const { gradient, factor } = gradients.takeUnscaled(name);
    using taken = gradient;
    const scalars = Float32Array.of(this.#correctedRate(), beta1, beta2, this.#epsilon, rate, factor);
    scope(
      () => void execute('AlignbookAdamW', [], [...[weight, m, v].map(readVariable), taken, floats(scalars, [6])], 0),
    );
  }

  /** lr sqrt(1 - beta2^t) / (1 - beta1^t), rounded after each operation as in ResourceApplyAdam. */
  #correctedRate(): number {
    const { fround } = Math;
    const { lr, beta1, beta2 } = this.#options;
    const [power1, power2] = [fround(beta1 ** this.#step), fround(beta2 ** this.#step)];
    return fround(fround(fround(lr) * fround(Math.sqrt(fround(1 - power2)))) / fround(1 - power1));
  }

  #byTensorFlow({ weight, m, v }: AdamWState, gradients: Gradients, name: string, rate: number): void {
    this.#scalars ??= this.#made();
    // Decay before the parts of a gradient are added up, which takes memory.
    if (rate > 0) decay(weight, this.#scalars.rate);
    using gradient = gradients.take(name);
    applyAdam(weight, m, v, this.#scalars, gradient);
  }

  #made(): AdamScalars & { readonly rate: Handle } {
    const { lr, beta1, beta2 } = this.#options;
    return {
      beta1Power: scalar(beta1 ** this.#step),
      beta2Power: scalar(beta2 ** this.#step),
      lr: scalar(lr),
      beta1: scalar(beta1),
      beta2: scalar(beta2),
      epsilon: scalar(this.#epsilon),
      rate: scalar(this.#rate),
    };
  }
}

/** The operation writes into the memory of the variables, so nothing else may share it. */
const canChangeInPlace = ({ weight, m, v }: AdamWState): boolean =>
  hasAdamW && isUnshared(weight) && isUnshared(m) && isUnshared(v);

/** w -= rate w, in place: assigning a product instead would leave a hole in memory as large as the weight. */
function decay(weight: Handle, rate: Handle): void {
  const value = readVariable(weight);
  using lost = mul(value, rate);
  release(value);
  assignSub(weight, lost);
}

/** PPO's value function: a scalar head on the policy's own hidden states. */
import type { Gradient } from '../engine/gradients';
import type { Handle } from '../engine/handle';
import type { WeightGradients } from '../engine/layers';
import { fill, variable } from '../engine/ops';
import { Variables } from '../engine/variables';
import { InputError } from '../errors';
import { GPT2 } from './gpt2';
import { Weights } from './weights';

/**
 * A view of `base` with a value head, value = hidden W + b, over the hidden states that the language head turns into
 * logits: `record` and `measure` then give values, and `weights.trained` also holds `v_head.weight` [C, 1] and
 * `v_head.bias` [1]. Both begin at 0, as in OpenAI's lm-human-preferences
 * (https://iclr-blogposts.github.io/2024/blog/the-n-implementation-details-of-rlhf-with-ppo). Departures: none from
 * OpenAI; TRL's PPOTrainer has a second model for the values instead.
 *
 * The view shares the base's variables, or adapters, so dispose of it first, which frees only the head. An export
 * leaves the head out.
 *
 * @throws InputError if `base` already has a value head.
 */
export function withValueHead({ config, weights }: GPT2): GPT2 {
  if (weights.hasValueHead) throw new InputError('this model already has a value head');
  const shapes = new Map([
    ['v_head.weight', [config.nEmbd, 1]],
    ['v_head.bias', [1]],
  ] as const);
  const head = new Variables(new Map([...shapes].map(([name, shape]) => [name, variable(fill(shape, 0))])), shapes);
  return new GPT2(config, new WeightsWithHead(weights, head));
}

class WeightsWithHead extends Weights {
  readonly #trained: Variables;

  readonly #base: Weights;
  readonly #head: Variables;

  constructor(base: Weights, head: Variables) {
    super(...together(base, head));
    this.#base = base;
    this.#head = head;
    this.#trained = new Variables(...together(base.trained, head));
  }

  override get trained(): Variables {
    return this.#trained;
  }

  override values(name: string): Float32Array {
    return (this.#isHead(name) ? this.#head : this.#base).values(name);
  }

  override read(name: string): Handle {
    return this.#isHead(name) ? super.read(name) : this.#base.read(name);
  }

  override gradients(made: Map<string, Gradient>, wanted: (name: string) => boolean): WeightGradients {
    const [ofBase, ofHead] = [this.#base.gradients(made, wanted), super.gradients(made, wanted)];
    const of = (name: string) => (this.#isHead(name) ? ofHead : ofBase);
    return { wants: (name) => of(name).wants(name), put: (name, make) => of(name).put(name, make) };
  }

  #isHead(name: string): boolean {
    return this.#head.names.includes(name);
  }

  override dispose(): void {
    this.#head.dispose();
  }
}

function together(first: Variables, second: Variables): [Map<string, Handle>, Map<string, readonly number[]>] {
  const both = [first, second].flatMap((variables) => variables.names.map((name) => [variables, name] as const));
  return [
    new Map(both.map(([variables, name]) => [name, variables.variable(name)])),
    new Map(both.map(([variables, name]) => [name, variables.shape(name)])),
  ];
}

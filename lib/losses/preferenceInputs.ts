/** What the losses on pairs are given, and what is asked of it: tensors of one element a pair, and options. */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { type tf } from '../tf';
import { DIVERGENCES, type Divergence } from './divergence';
import { requireSameShape } from './mask';

/** Each [B], one element a pair; log-probs are those of whole responses (`logps`), float32, in nats. */
export interface PreferenceInputs {
  /** Differentiable, as the next; everything else is a constant. */
  policyChosenLogps: tf.Tensor1D;
  policyRejectedLogps: tf.Tensor1D;
  refChosenLogps?: tf.Tensor1D;
  refRejectedLogps?: tf.Tensor1D;
  /** Tokens in each response, from 1 up; int32 or float32. */
  chosenLengths?: tf.Tensor1D;
  rejectedLengths?: tf.Tensor1D;
  /** A factor on the loss of each pair, such as the product of its two `wpoWeights`. */
  pairWeights?: tf.Tensor1D;
}

export type InputName = keyof PreferenceInputs;
export type Inputs<K extends InputName = InputName> = Required<Pick<PreferenceInputs, K>>;

/** Which of them a loss takes, and with which default, its `defaults` say. */
export interface PreferenceOptions {
  /** How strongly the policy is held to the reference; without a reference, how steep the loss is. Above 0. */
  beta?: number;
  /** The probability that a label is wrong, in [0, 0.5). */
  labelSmoothing?: number;
  /** What measures the distance from the reference (`divergence.ts`); 'reverse_kl' is DPO's. */
  divergence?: Divergence;
  /** The alpha of divergence 'alpha', in (0, 1): 'reverse_kl' toward 0, 'forward_kl' toward 1. */
  divergenceAlpha?: number;
  /** How sharply DiscoPOP passes from one loss to the other, in (0, 1]. */
  discopopTau?: number;
  /** The margin that SimPO asks for, in nats times beta; from 0 up. */
  gamma?: number;
  /** The weight of the chosen response's negative log-likelihood, from 0 up. */
  nllCoef?: number;
}

export type OptionName = keyof PreferenceOptions;
export type Options<K extends OptionName = OptionName> = Required<Pick<PreferenceOptions, K>>;

const REMEDY: { readonly [K in InputName]: string } = {
  policyChosenLogps: "the policy's logps of the chosen responses",
  policyRejectedLogps: "the policy's logps of the rejected responses",
  refChosenLogps: "the reference model's logps of the chosen responses, or take withoutReference(inputs)",
  refRejectedLogps: "the reference model's logps of the rejected responses, or take withoutReference(inputs)",
  chosenLengths: 'the number of tokens of each chosen response, responseMask.sum(1)',
  rejectedLengths: 'the number of tokens of each rejected response, responseMask.sum(1)',
  pairWeights: 'a factor for each pair',
};

/**
 * @throws InputError if an input that `loss` needs is missing, has another shape than the first, or a length is below
 * 1.
 */
export function requireInputs(loss: string, inputs: PreferenceInputs, needs: readonly InputName[]): Inputs {
  for (const name of needs) {
    if (inputs[name] === undefined)
      throw new InputError(`${loss} needs ${name}, which is missing: pass ${REMEDY[name]}`);
  }
  const present = [...needs, ...(inputs.pairWeights ? ['pairWeights' as const] : [])];
  requireSameShape(1, Object.fromEntries(present.map((name) => [name, inputs[name]!])));
  for (const name of ['chosenLengths', 'rejectedLengths'] as const) {
    const wrong = needs.includes(name) ? inputs[name]!.arraySync().find((length) => !(length >= 1)) : undefined;
    if (wrong !== undefined) throw new InputError(`${name} must be from 1 up, got ${wrong}; check the responseMask`);
  }
  return inputs as Inputs;
}

/** `options` over `defaults`. @throws InputError if `loss` does not take one of them or it is out of its range. */
export function requireOptions(loss: string, options: PreferenceOptions, defaults: PreferenceOptions): Options {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    if (!(name in defaults))
      throw new InputError(`${loss} takes no option ${name}; it takes ${Object.keys(defaults).join(', ') || 'none'}`);
    if (name !== 'divergence') requireRange(name, value, RANGES.pairs[name as Exclude<OptionName, 'divergence'>]);
    else if (!DIVERGENCES.includes(value as Divergence))
      throw new InputError(`divergence must be one of ${DIVERGENCES.join(', ')}, got ${JSON.stringify(value)}`);
  }
  return { ...defaults, ...Object.fromEntries(given) } as Options;
}

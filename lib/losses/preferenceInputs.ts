/** The types and checks behind the table of losses, preferenceLosses.ts: the inputs and options of a loss on pairs. */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { requireSameShape, stopGradient } from './mask';

/** Each [B], one element per pair; log-probs are those of whole responses (`logps`), float32, in nats. */
export interface PreferenceInputs {
  /** Differentiable, as is the next; all others are constants. */
  policyChosenLogps: tf.Tensor1D;
  policyRejectedLogps: tf.Tensor1D;
  refChosenLogps?: tf.Tensor1D;
  refRejectedLogps?: tf.Tensor1D;
  /** Tokens in each response, at least 1; int32 or float32. */
  chosenLengths?: tf.Tensor1D;
  rejectedLengths?: tf.Tensor1D;
  /** A factor on the loss of each pair, such as the product of its two `wpoWeights`. */
  pairWeights?: tf.Tensor1D;
}

export type InputName = keyof PreferenceInputs;
export type Inputs<K extends InputName = InputName> = Required<Pick<PreferenceInputs, K>>;

export const DIVERGENCES = ['reverse_kl', 'forward_kl', 'js', 'alpha'] as const;
export type Divergence = (typeof DIVERGENCES)[number];

/** Each loss takes some of these options: those in its `defaults`, which also give their default values. */
export interface PreferenceOptions {
  /** How strongly the policy is tied to the reference; without a reference, how steep the loss is. Above 0. */
  beta?: number;
  /** The probability that a label is wrong, in [0, 0.5). */
  labelSmoothing?: number;
  /** The measure of distance from the reference (see `logRatios.ts`); 'reverse_kl' is DPO's. */
  divergence?: Divergence;
  /** The alpha of divergence 'alpha', in (0, 1): it tends to 'reverse_kl' toward 0, to 'forward_kl' toward 1. */
  divergenceAlpha?: number;
  /** How sharply DiscoPOP switches from one loss to the other, in (0, 1]. */
  discopopTau?: number;
  /** The margin that SimPO asks for, in nats times beta; at least 0. */
  gamma?: number;
  /** The weight of the negative log-likelihood of the chosen response, at least 0. */
  nllCoef?: number;
}

export type OptionName = keyof PreferenceOptions;
export type Options<K extends OptionName = OptionName> = Required<Pick<PreferenceOptions, K>>;

const REMEDY: { readonly [K in InputName]: string } = {
  policyChosenLogps: "the policy's logps of the chosen responses",
  policyRejectedLogps: "the policy's logps of the rejected responses",
  refChosenLogps: "the reference model's logps of the chosen responses, or use withoutReference(inputs)",
  refRejectedLogps: "the reference model's logps of the rejected responses, or use withoutReference(inputs)",
  chosenLengths: 'the number of tokens in each chosen response, responseMask.sum(1)',
  rejectedLengths: 'the number of tokens in each rejected response, responseMask.sum(1)',
  pairWeights: 'a factor for each pair',
};

/** @throws InputError if an input that `loss` needs is missing or has another shape, or a length is below 1. */
function requireInputs(loss: string, inputs: PreferenceInputs, needs: readonly InputName[]): Inputs {
  for (const name of needs) {
    if (inputs[name] === undefined)
      throw new InputError(`${loss} needs ${name}, which is missing: pass ${REMEDY[name]}`);
  }
  const present = [...needs, ...(inputs.pairWeights ? ['pairWeights' as const] : [])];
  requireSameShape(1, Object.fromEntries(present.map((name) => [name, inputs[name]!])));
  for (const name of ['chosenLengths', 'rejectedLengths'] as const) {
    const wrong = needs.includes(name) ? inputs[name]!.arraySync().find((length) => !(length >= 1)) : undefined;
    if (wrong !== undefined) throw new InputError(`${name} must be at least 1, got ${wrong}; check the responseMask`);
  }
  return inputs as Inputs;
}

/** `options` over `defaults`. @throws InputError if `loss` does not take one of them, or one is out of its range. */
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

/** @throws InputError at 0, because EXO takes its logarithm. */
export function requireSmoothing(labelSmoothing: number): void {
  if (labelSmoothing === 0)
    throw new InputError('exo_pair: labelSmoothing must be above 0 (the paper uses 1e-3), got 0');
}

/** What a formula sees of its pairs: the inputs and options that this takes, and what is computed from them. */
export interface View<Seen> {
  readonly needs: readonly InputName[];
  readonly defaults: PreferenceOptions;
  /** Whether element r belongs to rank r in the batch rather than to pair r. */
  readonly byRank?: true;
  see(inputs: Inputs, options: Options): Seen;
}

interface Entry<Seen, Defaults extends PreferenceOptions> {
  readonly formula: string;
  readonly source: string;
  readonly defaults: Defaults;
  losses(seen: Seen, options: Defaults): tf.Tensor1D;
}

/** A row of the table: a loss without its name. */
type Row = { readonly view: View<unknown>; readonly entry: Entry<unknown, PreferenceOptions> };

/**
 * @returns [B] float32, one per pair (for 'aot' and 'aot_unpaired' one per rank); take the mean to train.
 * @throws InputError if an input is missing or does not fit, or an option is unknown to this loss or out of its range.
 */
export interface PreferenceLoss {
  (inputs: PreferenceInputs, options?: PreferenceOptions): tf.Tensor1D;
  /** The loss of a pair, in the notation of the table. */
  readonly formula: string;
  /** The paper and the equation. */
  readonly source: string;
  /** The inputs that the loss requires. If none is the reference's, a trainer needs no reference model. */
  readonly needs: readonly InputName[];
  /** The options that the loss takes, with their defaults. */
  readonly defaults: Readonly<PreferenceOptions>;
}

export function row<Seen, Defaults extends PreferenceOptions>(view: View<Seen>, entry: Entry<Seen, Defaults>): Row {
  return { view, entry };
}

export function table<Name extends string>(rows: Record<Name, Row>): Readonly<Record<Name, PreferenceLoss>> {
  const entries = Object.entries<Row>(rows).map(([name, each]) => [name, checkedLoss(name, each)] as const);
  return Object.fromEntries(entries) as Record<Name, PreferenceLoss>;
}

/** A row as a function that checks what it is given and frees its temporaries. */
function checkedLoss(name: string, { view, entry: { formula, source, ...entry } }: Row): PreferenceLoss {
  const { needs, byRank } = view;
  const defaults = { ...entry.defaults, ...view.defaults };
  const loss = (inputs: PreferenceInputs, options: PreferenceOptions = {}) => {
    const present = requireInputs(name, inputs, needs);
    const all: Options = requireOptions(name, options, defaults);
    if (byRank && inputs.pairWeights)
      throw new InputError(`${name} sorts the batch, so it has no loss per pair to weight: omit pairWeights`);
    return tf.tidy(() => {
      const losses = entry.losses(view.see(present, all), all);
      return inputs.pairWeights ? tf.mul<tf.Tensor1D>(losses, stopGradient(inputs.pairWeights)) : losses;
    });
  };
  return Object.assign(loss, { formula, source, needs, defaults });
}

/** A reward model: GPT-2 with a scalar head, read at a response's last token or the last one before its end token. */
import { join } from 'node:path';

import type { Gradients } from '../engine/gradients';
import { release, scope } from '../engine/handle';
import { hiddenStates, hiddenStatesBackward, type HiddenStatesSaved } from '../engine/hiddenStates';
import { layerNorm, layerNormBackward, type Read } from '../engine/layers';
import { floats } from '../engine/ops';
import { matmul } from '../engine/products';
import { FileError, InputError } from '../errors';
import { Checkpoint } from '../formats/checkpoint';
import { readConfig, type GPT2Config } from '../formats/config';
import { readJsonObject } from '../formats/jsonFile';
import { requirePeftConfig } from '../formats/peftAdapter';
import type { DownloadOptions } from '../hub/repository';
import type { Random } from '../random';
import { lastTokens, type ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { weightsFiles } from './folder';
import { DifferentiablePass, keptForBackward, type KeptForBackward, type RecordOptions } from './forwardPass';
import type { GPT2 } from './gpt2';
import type { FinalNorm } from './heads';
import { Weights } from './weights';
import { SCORE_HEAD, weightName } from './weightShapes';

/**
 * As transformers' GPT2ForSequenceClassification with one label: score = hidden W', without a bias. Owns its weights.
 *
 * A score is read at the last token that is not `padTokenId`. TRL pads GPT-2's batches with the end-of-sequence token,
 * so its reward models are trained, and must be read, at the last token before the end; so are those of train-reward.
 */
export class RewardModel {
  constructor(
    readonly config: GPT2Config,
    /** GPT-2's, and `score.weight` [1, C]. */
    readonly weights: Weights,
    /**
     * config.json's `pad_token_id`: scores are read at the last token that is not this one. Null: at the last token.
     */
    readonly padTokenId: number | null = null,
  ) {}

  /**
   * @param model a folder or a hub name, as `GPT2.fromPretrained` takes it, of a model with a scalar head.
   * @throws as `GPT2.fromPretrained` does; FileError also if the model has no such head.
   */
  static async fromPretrained(model: string, options?: DownloadOptions): Promise<RewardModel> {
    const { folder, adapter } = await weightsFiles(model, options);
    const config = readConfig(join(folder, 'config.json'));
    if (adapter !== null) {
      requirePeftConfig(adapter); // an adapter of a reward model has its own message
      throw new FileError(
        adapter,
        'is an adapter of a language model, not a reward model; make one from it with train-reward',
      );
    }
    if (!hasScoreHead(folder))
      throw new FileError(
        folder,
        `has no "${SCORE_HEAD}", so it is not a reward model; make one from it with train-reward`,
      );
    return new RewardModel(
      config,
      Weights.load(folder, config, { scoreHead: true }),
      readPadTokenId(join(folder, 'config.json')),
    );
  }

  /**
   * A copy of a language model (merged, if it has adapters) with a new head, drawn with standard deviation
   * 1 / sqrt(C + 1) as in OpenAI's lm-human-preferences (https://arxiv.org/abs/1909.08593): scores then begin with a
   * variance of about 1.
   *
   * @param padTokenId decides where scores are read, see the class. TRL and train-reward choose the tokenizer's padding
   *   token, or its end-of-sequence token if it has none. Default null.
   */
  static begin({ config, weights }: GPT2, random: Random, padTokenId: number | null = null): RewardModel {
    const values = new Map(weights.names.map((name) => [name, weights.values(name)]));
    const deviation = 1 / Math.sqrt(config.nEmbd + 1);
    values.set(
      SCORE_HEAD,
      Float32Array.from({ length: config.nEmbd }, () => deviation * random.normal()),
    );
    return new RewardModel(config, Weights.from(values, config, { scoreHead: true }), padTokenId);
  }

  /**
   * One score for each response, after its prompt.
   *
   * @returns [R] float32; higher is better.
   * @throws InputError if an id or a position does not fit the model.
   */
  scores(batch: ResponseBatch): tf.Tensor1D {
    const { scores, saved } = this.#scored(batch, 'nothing');
    release(saved);
    return tf.tensor1d(scores);
  }

  /** The same scores, keeping what a backward pass needs. */
  record(batch: ResponseBatch, options: RecordOptions = {}): RewardForwardPass {
    const { scores, saved } = this.#scored(batch, keptForBackward(options));
    return new RewardForwardPass(tf.tensor1d(scores), this, saved);
  }

  #scored(batch: ResponseBatch, keep: 'nothing' | KeptForBackward): { scores: Float32Array; saved: RewardSaved } {
    return scope(() => {
      const read: Read = (name) => this.weights.read(name);
      const { hidden, saved } = hiddenStates(batch, lastTokens(batch, this.padTokenId), read, this.config, keep);
      const norm = layerNorm(hidden, read, 'ln_f', this.config.layerNormEpsilon); // [R, C]
      const scores = matmul(norm.y, read(SCORE_HEAD), { transposeY: true }); // [R, 1]
      return { scores: scores.values() as Float32Array, saved: { ...saved, norm } };
    });
  }

  /**
   * Changes the weights so that scores become (score - mean) / deviation: a published run normalizes a reward model to
   * mean 0 and standard deviation 1 over samples of the reference, so that a KL coefficient means the same with any
   * model (https://arxiv.org/abs/1909.08593, section 2.1). The head takes the deviation, the final layer norm's bias
   * the mean: transformers still opens the model, without a gain and a bias of its own.
   *
   * @throws InputError if the deviation is not above 0, for instance because all samples scored the same.
   */
  normalize({ mean, deviation }: { mean: number; deviation: number }): void {
    if (!(deviation > 0 && deviation < Infinity && Number.isFinite(mean)))
      throw new InputError(
        `scores with mean ${mean} and deviation ${deviation} cannot be normalized; give samples whose scores differ`,
      );
    const head = this.weights.values(SCORE_HEAD);
    const bias = this.weights.values('ln_f.bias');
    const square = head.reduce((sum, w) => sum + w * w, 0);
    this.weights.assign(
      'ln_f.bias',
      bias.map((b, c) => b - (mean * head[c]!) / square),
    );
    this.weights.assign(
      SCORE_HEAD,
      head.map((w) => w / deviation),
    );
  }

  dispose(): void {
    this.weights.dispose();
  }
}

type RewardSaved = HiddenStatesSaved & { readonly norm: FinalNorm };

/** @param path a config.json that `readConfig` has read. */
function readPadTokenId(path: string): number | null {
  const { pad_token_id: id = null } = readJsonObject(path);
  if (id === null || (id as number) >= 0) return id as number | null;
  throw new FileError(
    path,
    `"pad_token_id" is ${id as number}; for a reward model give a token id, or null for scores at the last token`,
  );
}

/** Whether a model folder's weights have a scalar head. */
export function hasScoreHead(folder: string): boolean {
  using checkpoint = Checkpoint.open(folder);
  return [...checkpoint.tensors.keys()].some((key) => weightName(key) === SCORE_HEAD);
}

/** A reward model's forward pass over a batch. */
export class RewardForwardPass extends DifferentiablePass<RewardSaved> {
  readonly #model: RewardModel;

  constructor(
    /** [R] float32. */
    readonly scores: tf.Tensor1D,
    model: RewardModel,
    saved: RewardSaved,
  ) {
    super(saved, [scores]);
    this.#model = model;
  }

  /**
   * From the gradient of a loss with respect to `scores` to the gradient with respect to each weight, whose values must
   * still be those of the forward pass. Frees the activations on the way.
   *
   * @param gradient [R] float32.
   * @param wanted as for `ForwardPass.backward`.
   * @throws InputError if the shape does not fit or this forward pass was used before.
   */
  backward(gradient: tf.Tensor1D, wanted: (name: string) => boolean = () => true): Gradients {
    if (gradient.shape.join() !== this.scores.shape.join())
      throw new InputError(`gradient must have shape [${this.scores.shape}], got [${gradient.shape}]`);
    const { config, weights } = this.#model;
    const values = gradient.dataSync<'float32'>().slice();
    return this.runBackward(weights, wanted, ({ norm, ...below }, gradients) => {
      const read: Read = (name) => weights.read(name);
      const dScores = floats(values, [values.length, 1]); // [R, 1]
      gradients.put(SCORE_HEAD, () => matmul(dScores, norm.y, { transposeX: true }));
      const dNorm = matmul(dScores, read(SCORE_HEAD)); // [R, C]
      const dHidden = layerNormBackward(dNorm, norm.saved, read, 'ln_f', gradients);
      hiddenStatesBackward(dHidden, below, read, config, weights.names, gradients);
    });
  }
}

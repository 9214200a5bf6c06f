/**
 * A reward model: GPT-2 with a scalar head, read at a response's last token, or at the last one before its end token.
 */
import { join } from 'node:path';

import type { Gradient } from '../engine/embeddingGradient';
import type { Gradients } from '../engine/gradients';
import { release, scope, type Handle } from '../engine/handle';
import { layerNorm, layerNormBackward, type LayerNormSaved } from '../engine/layers';
import { floats, matmul } from '../engine/ops';
import { trunk, trunkBackward, type TrunkSaved } from '../engine/transformer';
import { FileError, InputError } from '../errors';
import { Checkpoint } from '../formats/checkpoint';
import { readConfig, type GPT2Config } from '../formats/config';
import { readJsonObject } from '../formats/jsonFile';
import type { DownloadOptions } from '../hub/download';
import type { Random } from '../random';
import { lastTokens, type ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { weightsFolder } from './folder';
import { FollowedOnce } from './followed';
import type { GPT2 } from './gpt2';
import { SCORE_HEAD, weightName, Weights } from './weights';

/**
 * As transformers' GPT2ForSequenceClassification with one label: score = hidden W', without a bias. Owns its weights.
 *
 * A score is read at the last token that is not `padTokenId`. TRL gives GPT-2 its end-of-sequence token for padding, so
 * its reward models are
 * trained, and must be read, at the last token before the end; those that train-reward makes are, too.
 */
export class RewardModel {
  constructor(
    readonly config: GPT2Config,
    /** GPT-2's, and `score.weight` [1, C]. */
    readonly weights: Weights,
    /** config.json's `pad_token_id`: scores are read at the last token that is another. Null: at the last token. */
    readonly padTokenId: number | null = null,
  ) {}

  /**
   * @param model a folder or a hub name, as `GPT2.fromPretrained` takes it, of a model with a scalar head.
   * @throws InputError, HubError or FileError as there; FileError, too, if it has no such head.
   */
  static async fromPretrained(model: string, options?: DownloadOptions): Promise<RewardModel> {
    const folder = await weightsFolder(model, options);
    const config = readConfig(join(folder, 'config.json'));
    if (!hasScoreHead(folder))
      throw new FileError(folder, `has no "${SCORE_HEAD}", so it is no reward model; train-reward makes one of it`);
    return new RewardModel(
      config,
      Weights.load(folder, config, { scoreHead: true }),
      readPadTokenId(join(folder, 'config.json')),
    );
  }

  /**
   * A copy of a language model (of one with adapters, merged) with a new head, drawn with the standard deviation 1 /
   * sqrt(C + 1), as in OpenAI's
   * lm-human-preferences (https://arxiv.org/abs/1909.08593): scores then begin with a variance of about 1.
   *
   * @param padTokenId where scores are read, see the class. TRL's choice, and train-reward's: the tokenizer's padding
   *   token, or its
   *   end-of-sequence token where it has none. Default null.
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
   * @returns [R] float32, the more the better.
   * @throws InputError if an id or a position does not fit the model.
   */
  scores(batch: ResponseBatch): tf.Tensor1D {
    const { scores, saved } = this.#scored(batch, 'nothing');
    release(saved);
    return tf.tensor1d(scores);
  }

  /** The same, keeping what a backward pass needs. */
  record(batch: ResponseBatch): ScoreRecording {
    const { scores, saved } = this.#scored(batch, 'activations');
    return new ScoreRecording(tf.tensor1d(scores), this, saved);
  }

  #scored(batch: ResponseBatch, keep: 'nothing' | 'activations'): { scores: Float32Array; saved: ScoreSaved } {
    return scope(() => {
      const read = this.weights.reader();
      const below = trunk(batch, lastTokens(batch, this.padTokenId), read, this.config, keep);
      using hidden = below.hidden;
      const norm = layerNorm(hidden, read, 'ln_f', this.config.layerNormEpsilon);
      using scores = matmul(norm.y, read(SCORE_HEAD), { transposeY: true });
      return { scores: scores.values() as Float32Array, saved: { trunk: below.saved, norm } };
    });
  }

  /**
   * Changes the weights so that scores come to (score - mean) / deviation: a published run normalizes a reward model to
   * mean 0 and
   * standard deviation 1 over samples of the reference, so that a KL coefficient means the same with any model
   * (https://arxiv.org/abs/1909.08593, section 2.1). The head takes the deviation, the final layer norm's bias the
   * mean: the model
   * remains one that transformers opens, without a gain and a bias of its own.
   *
   * @throws InputError if the deviation is not above 0: all samples scored the same, say.
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

type ScoreSaved = { readonly trunk: TrunkSaved; readonly norm: { readonly y: Handle; readonly saved: LayerNormSaved } };

/** @param path of a config.json that `readConfig` has read. */
function readPadTokenId(path: string): number | null {
  const { pad_token_id: id = null } = readJsonObject(path);
  if (id === null || (id as number) >= 0) return id as number | null;
  throw new FileError(
    path,
    `"pad_token_id" is ${id as number}; a reward model's is a token id, or null for scores at the last token`,
  );
}

/** Whether a model folder's weights have a scalar head. */
export function hasScoreHead(folder: string): boolean {
  using checkpoint = Checkpoint.open(folder);
  return [...checkpoint.tensors.keys()].some((key) => weightName(key) === SCORE_HEAD);
}

/** A forward pass over a batch, and the way back. */
export class ScoreRecording extends FollowedOnce<ScoreSaved> {
  constructor(
    /** [R] float32. */
    readonly scores: tf.Tensor1D,
    private readonly model: RewardModel,
    saved: ScoreSaved,
  ) {
    super(saved);
  }

  /**
   * From the gradient of a loss with respect to `scores` to that with respect to each weight, which must still be those
   * of the
   * forward pass. Frees the activations as it goes.
   *
   * @param gradient [R] float32.
   * @param wanted as of `Recording.backward`.
   * @throws InputError if the shape does not fit or this recording was used before.
   */
  backward(gradient: tf.Tensor1D, wanted: (name: string) => boolean = () => true): Gradients {
    if (gradient.shape.join() !== this.scores.shape.join())
      throw new InputError(`gradient must have shape [${this.scores.shape}], got [${gradient.shape}]`);
    const { config, weights } = this.model;
    return this.follow((saved) => {
      const read = weights.reader();
      const made = new Map<string, Gradient>();
      const gradients = weights.gradients(made, wanted);
      using dScores = floats(gradient.dataSync<'float32'>().slice(), [gradient.size, 1]);
      gradients.put(SCORE_HEAD, () => matmul(dScores, saved.norm.y, { transposeX: true }));
      using dNorm = matmul(dScores, read(SCORE_HEAD));
      using dHidden = layerNormBackward(dNorm, saved.norm.saved, read, 'ln_f', gradients);
      trunkBackward(dHidden, saved.trunk, read, config, weights.names, gradients);
      return made;
    });
  }
}

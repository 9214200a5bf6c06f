/** The architecture of a GPT-2, as its config.json states it. */
import { FileError } from '../errors';
import { readJsonObject } from '../jsonFile';

export interface GPT2Config {
  readonly nLayer: number;
  readonly nHead: number;
  readonly nEmbd: number;
  /** The longest sequence, in tokens (`n_positions`). */
  readonly blockSize: number;
  readonly vocabSize: number;
  readonly layerNormEpsilon: number;
}

/** Fields that change what GPT-2 computes, with the one value that is computed here (transformers' default). */
const REQUIRED = {
  model_type: 'gpt2',
  activation_function: 'gelu_new',
  add_cross_attention: false,
  reorder_and_upcast_attn: false,
  scale_attn_by_inverse_layer_idx: false,
  scale_attn_weights: true,
  tie_word_embeddings: true,
} as const;

/**
 * Reads a Hugging Face config.json.
 *
 * @throws FileError if it is not JSON, lacks a size, or asks for a variant of GPT-2 that is not computed here.
 */
export function readConfig(path: string): GPT2Config {
  const json = readJsonObject(path);
  for (const [field, required] of Object.entries(REQUIRED)) {
    const value = json[field] ?? required;
    if (value !== required) {
      throw new FileError(path, `"${field}" is ${JSON.stringify(value)}; only ${JSON.stringify(required)} is supported`);
    }
  }

  const size = (field: string): number => {
    const value = json[field];
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) {
      throw new FileError(path, `"${field}" must be a positive integer, got ${JSON.stringify(value)}`);
    }
    return value;
  };
  const config: GPT2Config = {
    nLayer: size('n_layer'),
    nHead: size('n_head'),
    nEmbd: size('n_embd'),
    blockSize: size('n_positions'),
    vocabSize: size('vocab_size'),
    layerNormEpsilon: typeof json.layer_norm_epsilon === 'number' ? json.layer_norm_epsilon : 1e-5,
  };
  if (config.nEmbd % config.nHead !== 0) {
    throw new FileError(path, `"n_embd" ${config.nEmbd} is not a multiple of "n_head" ${config.nHead}`);
  }
  const inner = json.n_inner ?? 4 * config.nEmbd;
  if (inner !== 4 * config.nEmbd) throw new FileError(path, `"n_inner" is ${inner}; only 4 * n_embd is supported`);
  return config;
}

/** The config.json that transformers reads back. */
export function configJson(config: GPT2Config): string {
  const json = {
    ...REQUIRED,
    architectures: ['GPT2LMHeadModel'],
    n_layer: config.nLayer,
    n_head: config.nHead,
    n_embd: config.nEmbd,
    n_positions: config.blockSize,
    vocab_size: config.vocabSize,
    layer_norm_epsilon: config.layerNormEpsilon,
    bos_token_id: config.vocabSize - 1,
    eos_token_id: config.vocabSize - 1,
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

/** The architecture of a GPT-2, as its config.json states it. */
import { FileError, plural, quoted } from '../errors';
import { readJsonObject, type JsonObject } from './jsonFile';

/** The function between a block's two wide layers; `gelu_new` is the tanh form of `gelu`. */
export type Activation = 'gelu_new' | 'gelu' | 'quick_gelu' | 'silu' | 'relu';

export interface GPT2Config {
  readonly nLayer: number;
  readonly nHead: number;
  readonly nEmbd: number;
  /** The longest sequence, in tokens (`n_positions`). */
  readonly blockSize: number;
  readonly vocabSize: number;
  readonly layerNormEpsilon: number;
  /** Default gelu_new. This field and those below are left out where GPT-2's own value holds. */
  readonly activation?: Exclude<Activation, 'gelu_new'>;
  /** The width between a block's two wide layers (`n_inner`). Default 4 nEmbd. */
  readonly nInner?: number;
  /** Whether attention's scores are not divided by the square root of a head's width (`scale_attn_weights: false`). */
  readonly unscaledAttention?: true;
  /** Whether they are also divided by the layer's index, counted from 1 (`scale_attn_by_inverse_layer_idx`). */
  readonly scaledByLayer?: true;
  /** Whether the head is a matrix of its own, `lm_head.weight` (`tie_word_embeddings: false`). */
  readonly untiedHead?: true;
}

/** transformers' names (ACT2FN), several of which stand for the same function. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu_new: 'gelu_new',
  gelu_fast: 'gelu_new',
  gelu_pytorch_tanh: 'gelu_new',
  gelu_accurate: 'gelu_new',
  gelu_python_tanh: 'gelu_new',
  gelu: 'gelu',
  gelu_python: 'gelu',
  quick_gelu: 'quick_gelu',
  silu: 'silu',
  swish: 'silu',
  relu: 'relu',
};

/** transformers' other names of the sizes (GPT2Config.attribute_map). */
const SYNONYMS = {
  n_layer: 'num_hidden_layers',
  n_head: 'num_attention_heads',
  n_embd: 'hidden_size',
  n_positions: 'max_position_embeddings',
} as const;

/** transformers' GPT-2 classes with heads that are not implemented here. */
const OTHER_ARCHITECTURES = ['GPT2DoubleHeadsModel', 'GPT2ForTokenClassification', 'GPT2ForQuestionAnswering'];

/**
 * Reads a Hugging Face config.json. `reorder_and_upcast_attn` asks for the same function computed in float32, as it
 * always is here.
 *
 * @throws FileError if it is not JSON, lacks a size, has a field whose type is not transformers', or asks for something
 *   that is not implemented here.
 */
export function readConfig(path: string): GPT2Config {
  const json = readJsonObject(path);
  const field = fieldsOf(json, path);
  if (json.model_type !== undefined && json.model_type !== 'gpt2')
    throw new FileError(path, `"model_type" is ${quoted(String(json.model_type))}; only "gpt2" is supported`);
  if (field.flag('add_cross_attention', false))
    throw new FileError(path, '"add_cross_attention" is true; only false is supported');
  field.flag('reorder_and_upcast_attn', false);
  requireArchitecture(json, path);
  for (const name of ['bos_token_id', 'pad_token_id']) field.tokenId(name);
  field.tokenIds('eos_token_id');

  const name = json.activation_function === undefined ? 'gelu_new' : json.activation_function;
  const activation = typeof name === 'string' && Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name]! : undefined;
  if (activation === undefined)
    throw new FileError(
      path,
      `"activation_function" is ${quoted(String(name))}; supported are ${Object.keys(ACTIVATIONS).join(', ')}`,
    );
  const [nEmbd, nHead] = [field.size('n_embd'), field.size('n_head')];
  const nInner = json.n_inner == null ? 4 * nEmbd : field.size('n_inner');
  const config: GPT2Config = {
    nLayer: field.size('n_layer'),
    nHead,
    nEmbd,
    blockSize: field.size('n_positions'),
    vocabSize: field.size('vocab_size'),
    layerNormEpsilon: field.positive('layer_norm_epsilon', 1e-5),
    ...(activation !== 'gelu_new' && { activation }),
    ...(nInner !== 4 * nEmbd && { nInner }),
    ...(!field.flag('scale_attn_weights', true) && { unscaledAttention: true as const }),
    ...(field.flag('scale_attn_by_inverse_layer_idx', false) && { scaledByLayer: true as const }),
    ...(!field.flag('tie_word_embeddings', true) && { untiedHead: true as const }),
  };
  if (nEmbd % nHead !== 0) throw new FileError(path, `"n_embd" ${nEmbd} is not a multiple of "n_head" ${nHead}`);
  return config;
}

/**
 * @throws FileError for a model of type GPT-2 that computes something else, or whose weights are stored in another way.
 */
function requireArchitecture(json: JsonObject, path: string): void {
  const { architectures, quantization_config: quantized = null } = json;
  const heads = json.attention_head_type ?? 'multihead';
  const named = (Array.isArray(architectures) ? architectures : []).map(String);
  const other = named.find((name) => OTHER_ARCHITECTURES.includes(name));
  if (other !== undefined)
    throw new FileError(
      path,
      `"architectures" is ${quoted(other)}; ` +
        'supported are GPT2LMHeadModel, GPT2Model and GPT2ForSequenceClassification with one label',
    );
  if (named.includes('GPT2ForSequenceClassification') && labels(json) !== 1) {
    throw new FileError(
      path,
      `it is a classifier with ${plural(labels(json), 'label')} ("id2label"); a reward model has one (num_labels=1)`,
    );
  }
  if (heads !== 'multihead')
    throw new FileError(path, `"attention_head_type" is ${quoted(String(heads))}; supported is "multihead"`);
  const own = Object.values(json.auto_map ?? {})
    .flat()
    .find((name) => typeof name === 'string' && /Model|CausalLM|Classification/.test(name.replace(/^.*\./, '')));
  if (own !== undefined)
    throw new FileError(
      path,
      `"auto_map" names custom code, ${quoted(String(own))}, which is not run here; a GPT-2 needs none`,
    );
  if (quantized !== null) {
    const method = String((quantized as { quant_method?: unknown }).quant_method ?? 'an unnamed method');
    throw new FileError(
      path,
      `"quantization_config": its weights are quantized (${method}), which is not supported; ` +
        "dequantize the model with Python's transformers (model.dequantize()) and save it again without that field",
    );
  }
}

/** The number of labels, as transformers counts them: `num_labels`, else the entries of `id2label`, else two. */
function labels({ num_labels: count, id2label: names }: JsonObject): number {
  return typeof count === 'number'
    ? count
    : typeof names === 'object' && names !== null
      ? Object.keys(names).length
      : 2;
}

/** Readers of a config's fields by type: a field of another type is an error, not a default. */
function fieldsOf(json: JsonObject, path: string) {
  const refuse = (name: string, what: string): never => {
    throw new FileError(path, `"${name}" must be ${what}, got ${JSON.stringify(json[name])}`);
  };
  return {
    size(name: string): number {
      const synonym = Object.hasOwn(SYNONYMS, name) ? SYNONYMS[name as keyof typeof SYNONYMS] : undefined;
      if (synonym !== undefined && json[synonym] !== undefined) {
        if (json[name] === undefined) return this.size(synonym);
        if (json[name] !== json[synonym])
          throw new FileError(
            path,
            `"${name}" is ${JSON.stringify(json[name])} but its synonym "${synonym}" is ` +
              `${JSON.stringify(json[synonym])}; remove the wrong one`,
          );
      }
      const value = json[name];
      return typeof value === 'number' && Number.isInteger(value) && value >= 1
        ? value
        : refuse(name, 'a positive integer');
    },
    positive(name: string, missing: number): number {
      const { [name]: value = missing } = json;
      return typeof value === 'number' && value > 0 && value < Infinity ? value : refuse(name, 'a number above 0');
    },
    flag(name: string, missing: boolean): boolean {
      const { [name]: value = missing } = json;
      return typeof value === 'boolean' ? value : refuse(name, 'true or false');
    },
    tokenId(name: string): void {
      const { [name]: value = null } = json;
      // some files have -1, meaning none
      if (value !== null && !Number.isInteger(value)) refuse(name, 'a token id or null');
    },
    tokenIds(name: string): void {
      const { [name]: value = null } = json;
      if (value !== null && ![value].flat().every(isTokenId)) refuse(name, 'a token id, a list of them, or null');
    },
  };
}

const isTokenId = (value: unknown): boolean => typeof value === 'number' && Number.isInteger(value) && value >= 0;

/** Fields that transformers 5 requires with a decimal point: it refuses 1, as JavaScript writes it, for 1.0. */
const FLOATS = /("(?:layer_norm_epsilon|initializer_range)": -?\d+)(?=,?$)/gm;

/** The text of a config.json. */
export const configText = (json: JsonObject): string => `${JSON.stringify(json, null, 2).replace(FLOATS, '$1.0')}\n`;

/** The config.json of an architecture, as transformers reads it. */
export function configJson(config: GPT2Config): string {
  const json = {
    model_type: 'gpt2',
    activation_function: config.activation ?? 'gelu_new',
    add_cross_attention: false,
    reorder_and_upcast_attn: false,
    scale_attn_by_inverse_layer_idx: config.scaledByLayer ?? false,
    scale_attn_weights: !config.unscaledAttention,
    tie_word_embeddings: !config.untiedHead,
    architectures: ['GPT2LMHeadModel'],
    n_layer: config.nLayer,
    n_head: config.nHead,
    n_embd: config.nEmbd,
    ...(config.nInner !== undefined && { n_inner: config.nInner }),
    n_positions: config.blockSize,
    vocab_size: config.vocabSize,
    layer_norm_epsilon: config.layerNormEpsilon,
    bos_token_id: config.vocabSize - 1,
    eos_token_id: config.vocabSize - 1,
  };
  return configText(json);
}

/** The factor of attention's scores in a layer, counted from 0. */
export function attentionScale({ nEmbd, nHead, unscaledAttention, scaledByLayer }: GPT2Config, layer: number): number {
  return (unscaledAttention ? 1 : 1 / Math.sqrt(nEmbd / nHead)) / (scaledByLayer ? layer + 1 : 1);
}

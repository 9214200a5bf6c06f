/**
 * GPT-2 without its heads: token ids -> embeddings -> blocks -> hidden states (see layers.ts for axes and ownership).
 */
import { attentionScale, type GPT2Config } from '../formats/config';
import {
  attention,
  attentionBackward,
  attentionToPast,
  type KeysAndValues,
  type Padding,
  type Past,
} from './attention';
import { release, scope, scoped, type Handle } from './handle';
import {
  activate,
  activateBackward,
  layerNorm,
  layerNormBackward,
  linear,
  linearBackward,
  type ActivationSaved,
  type LinearSaved,
  type Read,
  type WeightGradients,
} from './layers';
import { add, addRows, floats, gather, segmentSum } from './ops';

/** A block's own place among the model's weights, and its settings. */
interface Block {
  /** `h.0` for the first. */
  readonly name: string;
  readonly read: Read;
  readonly nHead: number;
  readonly scale: number;
  readonly epsilon: number;
  readonly activation: NonNullable<GPT2Config['activation']> | 'gelu_new';
}

const blockOf = (config: GPT2Config, layer: number, read: Read): Block => ({
  name: `h.${layer}`,
  read,
  nHead: config.nHead,
  scale: attentionScale(config, layer),
  epsilon: config.layerNormEpsilon,
  activation: config.activation ?? 'gelu_new',
});

/** Which tokens a block computes. */
export type BlockRows = {
  /** Where the N tokens are fewer than the B * T places. */
  readonly padding?: Padding | undefined;
  /**
   * int32 [M]: the tokens whose output is wanted, in the last block; the others serve it only as keys and values.
   * Default: all.
   */
  readonly only?: Handle | undefined;
};

/** One pre-norm transformer block: x + selfAttention(ln_1(x)), then + mlp(ln_2(·)). */
const block = scoped((x: Handle, bias: Handle, own: Block, rows: BlockRows) => {
  const { middle, saved } = beforeOutput(x, bias, own, rows);
  const output = mlpOutput(saved.mlp, own);
  return { y: add(middle, output.y), saved: { ...saved, mlp: { ...saved.mlp, output: output.saved } } };
});

/** A block without its last product: all that its backward needs, and what the product is added to. */
const beforeOutput = scoped((x: Handle, bias: Handle, own: Block, { padding, only }: BlockRows) => {
  const { name, read, epsilon } = own;
  const norm1 = layerNorm(x, read, `${name}.ln_1`, epsilon, true);
  const attended = selfAttention(norm1.y, bias, own, { padding, only });
  const middle = add(only ? gather(x, only) : x, attended.y); // [N, C], or [M, C] by `only`
  const norm2 = layerNorm(middle, read, `${name}.ln_2`, epsilon, true);
  const mlp = mlpWide(norm2.y, own);
  return { middle, saved: { norm1: norm1.saved, attention: attended.saved, norm2: norm2.saved, mlp } };
});

const blockBackward = scoped(
  (dy: Handle, saved: Activations, own: Block, gradients: WeightGradients, { padding, only }: BlockRows): Handle => {
    const { name, read } = own;
    const dNorm2 = mlpBackward(dy, saved.mlp, own, gradients);
    const dMiddle = add(dy, layerNormBackward(dNorm2, saved.norm2, read, `${name}.ln_2`, gradients));
    const dNorm1 = selfAttentionBackward(dMiddle, saved.attention, own, gradients, { padding, only });
    const throughAttention = layerNormBackward(dNorm1, saved.norm1, read, `${name}.ln_1`, gradients);
    return only ? addRows(throughAttention, only, dMiddle) : add(dMiddle, throughAttention);
  },
);

type Activations = ReturnType<typeof beforeOutput>['saved'];

/** What is kept of a block for its backward: everything that this needs, or only the block's input [N, C]. */
export type BlockSaved = Activations | { readonly input: Handle };

const selfAttention = scoped(
  (x: Handle, bias: Handle, { name, read, nHead, scale }: Block, { padding, only }: BlockRows) => {
    const input = linear(x, read, `${name}.attn.c_attn`);
    const heads = attention(input.y, bias, nHead, scale, padding);
    const output = linear(only ? gather(heads.y, only) : heads.y, read, `${name}.attn.c_proj`);
    return { y: output.y, saved: { input: input.saved, heads: heads.saved, output: output.saved } };
  },
);

const selfAttentionBackward = scoped(
  (
    dy: Handle,
    { input, heads, output }: ReturnType<typeof selfAttention>['saved'],
    { name, read, scale }: Block,
    gradients: WeightGradients,
    { padding, only }: BlockRows,
  ): Handle => {
    const dMixed = linearBackward(dy, output, read, `${name}.attn.c_proj`, gradients);
    const dHeads = only ? segmentSum(dMixed, only, input.x.shape[0]!) : dMixed; // [N, C]
    const dQkv = attentionBackward(dHeads, heads, scale, padding); // [N, 3C]
    return linearBackward(dQkv, input, read, `${name}.attn.c_attn`, gradients);
  },
);

/** `output` is what the backward of the MLP's last product needs of it, which is all that its forward needs. */
const mlpWide = scoped((x: Handle, { name, read, activation }: Block): MlpSaved => {
  const input = linear(x, read, `${name}.mlp.c_fc`);
  const wide = activate(input.y, activation); // [N, 4C]
  return { input: input.saved, wide: wide.saved, output: { x: wide.y } };
});

/** [N, C] */
const mlpOutput = ({ output }: MlpSaved, { name, read }: Block) => linear(output.x, read, `${name}.mlp.c_proj`);

type MlpSaved = { readonly input: LinearSaved; readonly wide: ActivationSaved; readonly output: LinearSaved };

const mlpBackward = scoped(
  (dy: Handle, { input, wide, output }: MlpSaved, own: Block, gradients: WeightGradients): Handle => {
    const { name, read, activation } = own;
    const dWide = linearBackward(dy, output, read, `${name}.mlp.c_proj`, gradients); // [N, 4C]
    const dLinear = activateBackward(dWide, wide, activation);
    return linearBackward(dLinear, input, read, `${name}.mlp.c_fc`, gradients);
  },
);

/** The same block for one more token of each row, x [B, C], whose key and value are written among the earlier ones. */
const nextBlock = scoped((x: Handle, bias: Handle, own: Block, past: Past): Handle => {
  const { name, read, scale, epsilon } = own;
  const norm1 = layerNorm(x, read, `${name}.ln_1`, epsilon, true);
  const input = linear(norm1.y, read, `${name}.attn.c_attn`);
  const heads = attentionToPast(input.y, bias, scale, past);
  const middle = add(x, linear(heads, read, `${name}.attn.c_proj`).y);
  const norm2 = layerNorm(middle, read, `${name}.ln_2`, epsilon, true);
  return add(middle, mlpOutput(mlpWide(norm2.y, own), own).y);
});

/** Bias of the scores of forbidden keys: their weight is then exactly 0 in float32. */
const FORBIDDEN = -1e9;

/** Attention's bias from `visible`, 1 where a query may attend to a key: float32 of the same shape. */
export function attentionBias(visible: Uint8Array, shape: readonly [B: number, T: number, S: number]): Handle {
  return floats(
    Float32Array.from(visible, (sees) => (sees === 1 ? 0 : FORBIDDEN)),
    shape,
  );
}

/** `only` applies to the last block; all tokens go through the others. */
export interface TransformerOptions extends BlockRows {
  /**
   * What to keep of each block: everything that its backward needs; its input alone, from which the backward computes
   * the rest again; or the keys and values for later positions. Default: nothing.
   */
  keep?: 'nothing' | 'activations' | 'inputs' | 'cache';
}

/**
 * @param ids [N] int32, N = B * T, or fewer by the padding.
 * @param positions [N] int32.
 * @param bias [B, T, T], see `attentionBias`.
 * @returns y [N, C], or [M, C] by `only`, before the final layer norm, and what `keep` asks for.
 */
export function transformer(
  ids: Handle,
  positions: Handle,
  bias: Handle,
  read: Read,
  config: GPT2Config,
  { keep = 'nothing', padding, only }: TransformerOptions = {},
) {
  const saved: BlockSaved[] = [];
  const cache: KeysAndValues[] = [];
  let x = embed(ids, positions, read);
  for (let layer = 0; layer < config.nLayer; layer += 1) {
    const isLast = layer === config.nLayer - 1;
    const result = scope(() => {
      const rows = { padding, only: isLast ? only : undefined };
      const { y, saved: all } = block(x, bias, blockOf(config, layer, read), rows);
      const { k, v } = all.attention.heads;
      return { y, ...(keep === 'activations' && { all }), ...(keep === 'cache' && { heads: { k, v } }) };
    });
    if (keep === 'inputs') saved.push({ input: x });
    else release(x);
    x = result.y;
    if (result.all) saved.push(result.all);
    if (result.heads) cache.push(result.heads);
  }
  return { y: x, saved, cache };
}

/**
 * One more token of each row.
 *
 * @param ids [B] int32.
 * @param positions [B] int32.
 * @param bias [B, 1, S], which allows the positions up to each token's own.
 * @param past keys and values of earlier positions, for each block; those of the tokens are written among them.
 * @returns [B, C], before the final layer norm.
 */
export const transformerStep = scoped(
  (ids: Handle, positions: Handle, bias: Handle, read: Read, config: GPT2Config, past: readonly Past[]): Handle =>
    past.reduce(
      (x, ofLayer, layer) => nextBlock(x, bias, blockOf(config, layer, read), ofLayer),
      embed(ids, positions, read),
    ),
);

const embed = scoped((ids: Handle, positions: Handle, read: Read): Handle =>
  add(gather(read('wte.weight'), ids), gather(read('wpe.weight'), positions)),
);

/**
 * The way back through the blocks, from the last one down to block `depth`. Where only the inputs of the blocks were
 * kept, each block's activations are computed again by the same operations, so the gradients have the same bits
 * (gradient checkpointing, arXiv 1604.06174, with each block a segment).
 *
 * @param dy the gradient of `transformer`'s y; it is taken over, as are the activations, which are freed block by
 *   block.
 * @param rows those of `transformer`, and its `bias`.
 * @returns the gradient of the block's input, [N, C].
 */
export function transformerBackward(
  dy: Handle,
  saved: readonly BlockSaved[],
  depth: number,
  read: Read,
  config: GPT2Config,
  gradients: WeightGradients,
  { bias, padding, only }: BlockRows & { bias: Handle },
): Handle {
  const last = saved.length - 1;
  let dx = dy;
  for (let layer = last; layer >= depth; layer -= 1) {
    const rows = { padding, only: layer === last ? only : undefined };
    const own = blockOf(config, layer, read);
    const kept = saved[layer]!;
    const before = scope(() => {
      const activations = 'input' in kept ? beforeOutput(kept.input, bias, own, rows).saved : kept;
      return blockBackward(dx, activations, own, gradients, rows);
    });
    release(dx, kept);
    dx = before;
  }
  return dx;
}

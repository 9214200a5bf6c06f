/**
 * GPT-2 without its heads: token ids -> embeddings -> blocks -> hidden states (see layers.ts for axes and ownership).
 */
import { attentionScale, type GPT2Config } from '../formats/config';
import { attention, attentionBackward, type KeysAndValues, type Padding, type Past } from './attention';
import { release, scope, scoped, type Handle } from './handle';
import {
  activate,
  activateBackward,
  layerNorm,
  layerNormBackward,
  linear,
  linearBackward,
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
const block = scoped(
  (x: Handle, bias: Handle, own: Block, { past, padding, only }: { past?: Past | undefined } & BlockRows) => {
    const { name, read, epsilon } = own;
    const norm1 = layerNorm(x, read, `${name}.ln_1`, epsilon);
    const attended = selfAttention(norm1.y, bias, own, { past, padding, only });
    const middle = add(only ? gather(x, only) : x, attended.y); // [N, C], or [M, C] by `only`
    const norm2 = layerNorm(middle, read, `${name}.ln_2`, epsilon);
    const fed = mlp(norm2.y, own);
    return {
      y: add(middle, fed.y),
      saved: { norm1: norm1.saved, attention: attended.saved, norm2: norm2.saved, mlp: fed.saved },
    };
  },
);

const blockBackward = scoped(
  (dy: Handle, saved: BlockSaved, own: Block, gradients: WeightGradients, { padding, only }: BlockRows): Handle => {
    const { name, read } = own;
    const dNorm2 = mlpBackward(dy, saved.mlp, own, gradients);
    const dMiddle = add(dy, layerNormBackward(dNorm2, saved.norm2, read, `${name}.ln_2`, gradients));
    const dNorm1 = selfAttentionBackward(dMiddle, saved.attention, own, gradients, { padding, only });
    const throughAttention = layerNormBackward(dNorm1, saved.norm1, read, `${name}.ln_1`, gradients);
    return only ? addRows(throughAttention, only, dMiddle) : add(dMiddle, throughAttention);
  },
);

export type BlockSaved = ReturnType<typeof block>['saved'];

const selfAttention = scoped(
  (
    x: Handle,
    bias: Handle,
    { name, read, nHead, scale }: Block,
    { past, padding, only }: { past?: Past | undefined } & BlockRows,
  ) => {
    const heads = attention(linear(x, read, `${name}.attn.c_attn`), bias, nHead, scale, { past, padding });
    const mixed = only ? gather(heads.y, only) : heads.y;
    return { y: linear(mixed, read, `${name}.attn.c_proj`), saved: { x, heads: heads.saved, mixed } };
  },
);

const selfAttentionBackward = scoped(
  (
    dy: Handle,
    { x, heads, mixed }: ReturnType<typeof selfAttention>['saved'],
    { name, read, scale }: Block,
    gradients: WeightGradients,
    { padding, only }: BlockRows,
  ): Handle => {
    const dMixed = linearBackward(dy, mixed, read, `${name}.attn.c_proj`, gradients);
    const dHeads = only ? segmentSum(dMixed, only, x.shape[0]!) : dMixed; // [N, C]
    const dQkv = attentionBackward(dHeads, heads, scale, padding); // [N, 3C]
    return linearBackward(dQkv, x, read, `${name}.attn.c_attn`, gradients);
  },
);

const mlp = scoped((x: Handle, { name, read, activation }: Block) => {
  const wide = activate(linear(x, read, `${name}.mlp.c_fc`), activation); // [N, 4C]
  return { y: linear(wide.y, read, `${name}.mlp.c_proj`), saved: { x, wide } };
});

const mlpBackward = scoped(
  (
    dy: Handle,
    { x, wide }: ReturnType<typeof mlp>['saved'],
    { name, read, activation }: Block,
    gradients: WeightGradients,
  ): Handle => {
    const dWide = linearBackward(dy, wide.y, read, `${name}.mlp.c_proj`, gradients); // [N, 4C]
    const dLinear = activateBackward(dWide, wide.saved, activation);
    return linearBackward(dLinear, x, read, `${name}.mlp.c_fc`, gradients);
  },
);

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
   * What to keep of each block: everything that its backward needs, or the keys and values for later positions.
   * Default: nothing.
   */
  keep?: 'nothing' | 'activations' | 'cache';
  /** Keys and values of earlier positions, for each block. */
  past?: readonly Past[];
}

/**
 * @param ids [N] int32, N = B * T, or fewer by the padding.
 * @param positions [N] int32.
 * @param bias [B, T, S], see `attentionBias`; S is T, or that of `past`.
 * @returns y [N, C], or [M, C] by `only`, before the final layer norm, and what `keep` asks for.
 */
export function transformer(
  ids: Handle,
  positions: Handle,
  bias: Handle,
  read: Read,
  config: GPT2Config,
  { keep = 'nothing', past, padding, only }: TransformerOptions = {},
) {
  const saved: BlockSaved[] = [];
  const cache: KeysAndValues[] = [];
  let x = embed(ids, positions, read);
  for (let layer = 0; layer < config.nLayer; layer += 1) {
    const isLast = layer === config.nLayer - 1;
    const result = scope(() => {
      const rows = { past: past?.[layer], padding, only: isLast ? only : undefined };
      const { y, saved: all } = block(x, bias, blockOf(config, layer, read), rows);
      const { k, v } = all.attention.heads;
      return { y, ...(keep === 'activations' && { all }), ...(keep === 'cache' && { heads: { k, v } }) };
    });
    release(x);
    x = result.y;
    if (result.all) saved.push(result.all);
    if (result.heads) cache.push(result.heads);
  }
  return { y: x, saved, cache };
}

const embed = scoped((ids: Handle, positions: Handle, read: Read): Handle =>
  add(gather(read('wte.weight'), ids), gather(read('wpe.weight'), positions)),
);

/**
 * The way back through the blocks, from the last one down to block `depth`.
 *
 * @param dy the gradient of `transformer`'s y; it is taken over, as are the activations, which are freed block by
 *   block.
 * @returns the gradient of the block's input, [N, C].
 */
export function transformerBackward(
  dy: Handle,
  saved: readonly BlockSaved[],
  depth: number,
  read: Read,
  config: GPT2Config,
  gradients: WeightGradients,
  { padding, only }: BlockRows,
): Handle {
  const last = saved.length - 1;
  let dx = dy;
  for (let layer = last; layer >= depth; layer -= 1) {
    const rows = { padding, only: layer === last ? only : undefined };
    const before = blockBackward(dx, saved[layer]!, blockOf(config, layer, read), gradients, rows);
    release(dx, saved[layer]);
    dx = before;
  }
  return dx;
}

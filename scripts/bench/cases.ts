/** The tasks that bench.ts times, and the contenders for each. */
import type { PairIds } from 'alignbook';

export type Policy = 'fp32' | 'bf16';

/** The work besides prompts and pairs, as a worker receives it. */
export interface Work {
  readonly newTokens?: number;
  /** Responses for each prompt. Default: 1. */
  readonly group?: number;
  /** For trainings: rows per forward and backward pass; the gradients of the passes are added up. */
  readonly rowsAtOnce?: number;
  /**
   * Rows that are generated at once, each up to its end. Without it, all rows at once, with as many tokens from each.
   */
  readonly batchSize?: number;
  /** For PPO: updates on a rollout, each on all of its rows. */
  readonly epochs?: number;
  /** A product of matrices [M, K] and [K, N], computed so many times. */
  readonly product?: readonly [M: number, K: number, N: number];
  readonly times?: number;
}

export interface Rival {
  readonly name: string;
  /** A script of this folder, in Python or of this library, and its arguments besides the task. */
  readonly script: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  /** A folder of .alignbook with packages that Python must find before those of the oracles. */
  readonly packages?: string;
  /** Opens the model in the form that export_onnx.py writes. */
  readonly onnx?: boolean;
  /** Whether it computes in float32, whatever the others do. */
  readonly fp32Only?: boolean;
  /** Whether it compiles for a minute before it begins; --quick leaves it out. */
  readonly slowStart?: boolean;
}

export interface Case {
  readonly name: string;
  /** A script of this folder, and its arguments besides the task. */
  readonly ours: readonly [string, ...string[]];
  readonly rivals: readonly Rival[];
  readonly policies: readonly Policy[];
  /** The number of prompts of random ids, and their length. */
  readonly prompts?: readonly [count: number, length: number];
  /** The number of prompts from the training data. */
  readonly questions?: number;
  /**
   * The number of pairs from the training data, and the least length of their prompts, which are repeated to reach it.
   */
  readonly pairs?: readonly [count: number, promptLength: number];
  /** The number of pairs of random ids, and the lengths of their prompts and of each response. */
  readonly randomPairs?: readonly [count: number, promptLength: number, responseLength: number];
  /** The number of made-up pairs in a file, which the contenders read and encode. */
  readonly rows?: number;
  /** Whether the model is `tiny`, instead of the GPT-2 with random parameters. */
  readonly tiny?: boolean;
  readonly work: Work;
  /** Relative tolerance between the results of contenders in fp32. Default: 0, equality. */
  readonly tolerance?: number;
  /** What one repetition amounts to, which is then printed for each second: floating-point operations or bytes. */
  readonly amount?: { readonly of: number; readonly unit: 'GFLOP' | 'GB' };
  /** Whether the case differs from another only in size; --quick leaves it out. */
  readonly onlySize?: boolean;
}

/** What a worker receives. */
export interface Task extends Work {
  readonly model: string;
  /** The model as transformers.js opens it, if one of the contenders does. */
  readonly onnx?: string;
  readonly policy: Policy;
  readonly prompts: readonly (readonly number[])[];
  /** Each response ends with the end-of-sequence token. */
  readonly pairs: readonly PairIds[];
  /** The id of the end-of-sequence token. */
  readonly end: number;
  /** A file of pairs in JSON lines, and the maximum number of tokens in a row. */
  readonly file?: string;
  readonly maxLength?: number;
}

const TRANSFORMERS: Rival = { name: 'transformers', script: ['theirs.py'] };
/** Rows are generated one after another, so 32 rows would show nothing that 8 do not. */
const TRANSFORMERS_JS: Rival = { name: 'transformers.js', script: ['theirsJs.js'], onnx: true, fp32Only: true };
const ONNXRUNTIME: Rival = { name: 'onnxruntime', script: ['theirs_onnx.py'], onnx: true, fp32Only: true };
const NEW_TOKENS = 48;
/** Parameters of GPT-2 124M that a token needs: all but the positions' embedding. */
const READ = 123_653_376;
const generate = (batch: number, tiny = false): Case => ({
  name: `generate, ${tiny ? 'tiny, ' : ''}batch ${batch}`,
  tiny,
  ours: ['ours.js', 'generate'],
  rivals: [TRANSFORMERS, ONNXRUNTIME, ...(batch <= 8 ? [TRANSFORMERS_JS] : [])],
  policies: ['fp32', 'bf16'],
  prompts: [batch, 32],
  work: { newTokens: NEW_TOKENS },
  ...(batch === 1 && !tiny && { amount: { of: 4 * READ * NEW_TOKENS, unit: 'GB' } as const }),
  onlySize: tiny || batch !== 8,
});
/** Answers of different lengths, each up to its end. */
const answers: Case = {
  name: 'answers, tiny, 200 questions',
  ours: ['ours.js', 'generate'],
  rivals: [TRANSFORMERS],
  policies: ['fp32'],
  questions: 200,
  tiny: true,
  work: { newTokens: 64, batchSize: 32 },
};
const counted = (pairs: number) => (pairs === 1 ? '1 pair' : `${pairs} pairs`);
const TRL: Rival = { name: 'TRL 1.16', script: ['theirs_dpo_trl.py'] };
const TUNED: Rival = { name: 'PyTorch, tuned', script: ['theirs_dpo.py', 'tuned'] };
const COMPILED: Rival = { name: 'PyTorch, compiled', script: ['theirs_dpo.py', 'compiled'], slowStart: true };
// For the loss and the gradients' norm after several steps: AdamW makes full steps even of gradients that are rounding
// errors.
const DPO_TOLERANCE = 1e-3;
/** Whether five contenders at once would need more than 24 GB. */
const isLarge = (pairs: number, promptLength: number) => pairs > 4 || promptLength > 0;
/**
 * One step of a training with known log-probs of the reference, except in the source's way, which computes them in each
 * step.
 */
const dpo = (pairs: number, promptLength = 0): Case => ({
  name: `dpo, ${counted(pairs)}${promptLength > 0 ? ', long prompts' : ''}`,
  ours: ['ours.js', 'dpo'],
  rivals: [
    { name: "the source's way", script: ['theirs_dpo.py', 'source'], fp32Only: true },
    TRL,
    TUNED,
    ...(isLarge(pairs, promptLength) ? [] : [COMPILED]),
  ],
  policies: ['fp32', 'bf16'],
  pairs: [pairs, promptLength],
  work: {},
  onlySize: pairs !== 4 || promptLength > 0,
  tolerance: DPO_TOLERANCE,
});
/** The same step, for a given length of prompt and response, and a given fraction of it that is the prompt. */
const share = (length: number, quarters: number): Case => ({
  name: `share, ${length} tokens, prompt ${25 * quarters} %`,
  ours: ['ours.js', 'dpo'],
  rivals: [TRL, TUNED],
  policies: ['fp32'],
  randomPairs: [4, (length * quarters) / 4, (length * (4 - quarters)) / 4],
  work: {},
  onlySize: true,
  tolerance: DPO_TOLERANCE,
});
const score = (pairs: number): Case => ({
  name: `score, ${counted(pairs)}`,
  ours: ['ours.js', 'score'],
  rivals: [{ name: 'transformers', script: ['theirs_dpo.py', 'score'] }],
  policies: ['fp32', 'bf16'],
  pairs: [pairs, 0],
  work: {},
  onlySize: pairs > 1,
  tolerance: 1e-5,
});
/** The same step without one of this library's design choices. */
const choices: Case = {
  name: 'choices, 16 pairs',
  ours: ['ours.js', 'dpo'],
  rivals: [
    { name: 'each with its prompt', script: ['oursDpoPadded.js'] },
    { name: 'reference asked', script: ['ours.js', 'dpo', 'live'] },
    { name: 'without oneDNN', script: ['ours.js', 'dpo'], env: { TF_ENABLE_ONEDNN_OPTS: '0' } },
    { name: "malloc's memory", script: ['ours.js', 'dpo'], env: { TF_CPU_ALLOCATOR_USE_BFC: 'false' } },
  ],
  policies: ['fp32'],
  pairs: [16, 0],
  work: {},
  tolerance: DPO_TOLERANCE,
};
/** From a file of pairs to ids. The contenders must agree on the number of tokens. */
const rows: Case = {
  name: 'rows, 60,000 pairs',
  ours: ['oursRows.js'],
  rivals: [
    { name: 'TRL 1.16', script: ['theirs_rows.py'] },
    { name: 'datasets, batched', script: ['theirs_rows.py', 'batched'] },
  ],
  policies: ['fp32'],
  rows: 60_000,
  tiny: true,
  work: {},
};
/**
 * The products of a step of DPO on four pairs, for which each side calls the library that its framework was built with:
 * what is left of a step's ratio beyond these is the engine's own.
 */
const product = (M: number, K: number, N: number): Case => ({
  name: `product, ${M} x ${K} x ${N}`,
  ours: ['oursProducts.js'],
  rivals: [{ name: 'PyTorch', script: ['theirs_products.py'] }],
  policies: ['fp32', 'bf16'],
  work: { product: [M, K, N], times: TIMES },
  amount: { of: 2 * M * K * N * TIMES, unit: 'GFLOP' },
  tiny: true,
  onlySize: N !== 3072,
  tolerance: 1e-4,
});
const TIMES = 20;
/** Whole iterations, from prompts to the optimizer's last step. */
const trainings: readonly Case[] = [
  {
    name: 'grpo',
    ours: ['oursGrpo.js'],
    rivals: [{ name: 'TRL 1.16', script: ['theirs_grpo.py'] }],
    policies: ['fp32'],
    prompts: [4, 32],
    work: { newTokens: 24, group: 4, rowsAtOnce: 8 },
  },
  {
    name: 'ppo',
    ours: ['oursPpo.js'],
    rivals: [{ name: 'TRL 1.12', script: ['theirs_ppo.py'], packages: 'trl-ppo' }],
    policies: ['fp32'],
    prompts: [4, 32],
    work: { newTokens: 32, rowsAtOnce: 4, epochs: 4 },
  },
];
export const cases: readonly Case[] = [
  ...[1, 8, 32].map((batch) => generate(batch)),
  ...[1, 8, 32].map((batch) => generate(batch, true)),
  answers,
  dpo(1),
  dpo(4),
  dpo(4, 200),
  dpo(16),
  ...[64, 256].flatMap((length) => [1, 2, 3].map((quarters) => share(length, quarters))),
  score(1),
  score(250),
  product(160, 768, 3072),
  product(160, 3072, 768),
  product(160, 768, 2304),
  product(112, 768, 50_257),
  rows,
  choices,
  ...trainings,
];

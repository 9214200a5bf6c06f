/** The tasks that bench.ts times, and the contenders for each. */
import type { PairIds } from 'alignbook';

export type Policy = 'fp32' | 'bf16';

/** The work beside prompts and pairs, as a worker is told of it. */
export interface Work {
  readonly newTokens?: number;
  /** Responses to each prompt. Default: 1. */
  readonly group?: number;
  /** In trainings: rows of a forward and backward pass; their gradients are added up. */
  readonly rowsAtOnce?: number;
  /** Rows that are generated at once, each up to its end; without it all at once, and as many tokens from each. */
  readonly batchSize?: number;
  /** In PPO: updates on a rollout, all of its rows each. */
  readonly epochs?: number;
}

export interface Rival {
  readonly name: string;
  /** A script of this folder, and what it is told beside the task: Python's, or this library's own. */
  readonly script: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  /** A folder of .alignbook with packages that Python is to find before those of the oracles. */
  readonly packages?: string;
  /** Opens the model in the form of export_onnx.py. */
  readonly onnx?: boolean;
  /** Where it computes in float32, whatever the others do. */
  readonly fp32Only?: boolean;
}

export interface Case {
  readonly name: string;
  /** A script of this folder. */
  readonly ours: string;
  readonly rivals: readonly Rival[];
  readonly policies: readonly Policy[];
  /** Prompts of random ids, and their length. */
  readonly prompts?: readonly [count: number, length: number];
  /** Prompts of the training data. */
  readonly questions?: number;
  /** Pairs of the training data, and the least length of their prompts, which are repeated up to it. */
  readonly pairs?: readonly [count: number, promptLength: number];
  /** Pairs of random ids, and the lengths of their prompts and of each response. */
  readonly randomPairs?: readonly [count: number, promptLength: number, responseLength: number];
  /** `tiny`, instead of the GPT-2 of random parameters. */
  readonly tiny?: boolean;
  readonly work: Work;
  /** Relative, between what contenders in fp32 compute. Default: 0, equality. */
  readonly tolerance?: number;
  /** Differs from another case in size only, which is nothing to --quick. */
  readonly onlySize?: boolean;
}

/** What a worker is told. */
export interface Task extends Work {
  readonly model: string;
  /** The model as transformers.js opens it, if a contender does. */
  readonly onnx?: string;
  readonly policy: Policy;
  readonly prompts: readonly (readonly number[])[];
  /** Responses end with the end-of-sequence token. */
  readonly pairs: readonly PairIds[];
  /** Its id. */
  readonly end: number;
}

const TRANSFORMERS: Rival = { name: 'transformers', script: ['theirs.py'] };
/** One row after another, so that 32 rows say no more than 8. */
const TRANSFORMERS_JS: Rival = { name: 'transformers.js', script: ['theirsJs.js'], onnx: true, fp32Only: true };
const generate = (batch: number, tiny = false): Case => ({
  name: `generate, ${tiny ? 'tiny, ' : ''}batch ${batch}`,
  tiny,
  ours: 'ours.js',
  rivals: [TRANSFORMERS, ...(batch <= 8 ? [TRANSFORMERS_JS] : [])],
  policies: ['fp32', 'bf16'],
  prompts: [batch, 32],
  work: { newTokens: 48 },
  onlySize: tiny || batch !== 8,
});
/** Answers of unlike lengths, each up to its end. */
const answers: Case = {
  name: 'answers, tiny, 200 questions',
  ours: 'ours.js',
  rivals: [TRANSFORMERS],
  policies: ['fp32'],
  questions: 200,
  tiny: true,
  work: { newTokens: 64, batchSize: 32 },
};
const counted = (pairs: number) => (pairs === 1 ? '1 pair' : `${pairs} pairs`);
const TRL: Rival = { name: 'TRL 1.16', script: ['theirs_dpo_trl.py'] };
const TUNED: Rival = { name: 'PyTorch, tuned', script: ['theirs_dpo.py', 'tuned'] };
// of the loss and the gradients' norm after several steps: AdamW makes full steps of gradients that are rounding errors
const DPO_TOLERANCE = 1e-3;
/** One step of a training whose reference is known, but in the source's way, which asks it in each step. */
const dpo = (pairs: number, promptLength = 0): Case => ({
  name: `dpo, ${counted(pairs)}${promptLength > 0 ? ', long prompts' : ''}`,
  ours: 'oursDpo.js',
  rivals: [{ name: "the source's way", script: ['theirs_dpo.py', 'source'], fp32Only: true }, TRL, TUNED],
  policies: ['fp32', 'bf16'],
  pairs: [pairs, promptLength],
  work: {},
  onlySize: pairs !== 4 || promptLength > 0,
  tolerance: DPO_TOLERANCE,
});
/** The same by how long a prompt with one response is, and how much of that the prompt. */
const share = (length: number, quarters: number): Case => ({
  name: `share, ${length} tokens, prompt ${25 * quarters} %`,
  ours: 'oursDpo.js',
  rivals: [TRL, TUNED],
  policies: ['fp32'],
  randomPairs: [4, (length * quarters) / 4, (length * (4 - quarters)) / 4],
  work: {},
  onlySize: true,
  tolerance: DPO_TOLERANCE,
});
const score = (pairs: number): Case => ({
  name: `score, ${counted(pairs)}`,
  ours: 'oursScore.js',
  rivals: [{ name: 'transformers', script: ['theirs_dpo.py', 'score'] }],
  policies: ['fp32', 'bf16'],
  pairs: [pairs, 0],
  work: {},
  onlySize: pairs > 1,
  tolerance: 1e-5,
});
/** The same step with one of this library's choices undone. */
const choices: Case = {
  name: 'choices, 16 pairs',
  ours: 'oursDpo.js',
  rivals: [
    { name: 'each with its prompt', script: ['oursDpoPadded.js'] },
    { name: 'reference asked', script: ['oursDpo.js', 'live'] },
    { name: 'without oneDNN', script: ['oursDpo.js'], env: { TF_ENABLE_ONEDNN_OPTS: '0' } },
    { name: "malloc's memory", script: ['oursDpo.js'], env: { TF_CPU_ALLOCATOR_USE_BFC: 'false' } },
  ],
  policies: ['fp32'],
  pairs: [16, 0],
  work: {},
  tolerance: DPO_TOLERANCE,
};
/** Whole iterations, from prompts to the optimizer's last step. */
const trainings: readonly Case[] = [
  {
    name: 'grpo',
    ours: 'oursGrpo.js',
    rivals: [{ name: 'TRL 1.16', script: ['theirs_grpo.py'] }],
    policies: ['fp32'],
    prompts: [4, 32],
    work: { newTokens: 24, group: 4, rowsAtOnce: 8 },
  },
  {
    name: 'ppo',
    ours: 'oursPpo.js',
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
  choices,
  ...trainings,
];

/** The README.md of a model folder: front matter that the Hugging Face hub reads, and how to load the model. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { plural } from '../errors';
import type { GPT2Config } from './config';
import type { BaseModel } from './peftAdapter';

/** Facts about a model that hold for the models made from it too. */
export interface Origin {
  /** A license in the hub's spelling, such as `mit`; null if unknown. */
  readonly license: string | null;
  /** The hub's name of the model that the weights began as, or null. */
  readonly baseModel: string | null;
}

/** Licenses of models on the hub, by name (https://huggingface.co/openai-community/gpt2 and others). */
const LICENSES: readonly (readonly [RegExp, string])[] = [
  [/^(openai-community\/)?gpt2(-medium|-large|-xl)?$/, 'mit'],
  [/^distilbert\/distilgpt2$|^distilgpt2$/, 'apache-2.0'],
];

/**
 * The origin of a model, from its name on the hub if it has one, else from the card in its folder.
 *
 * @param repository the model's name on the hub, or null.
 */
export function origin(folder: string, repository: string | null): Origin {
  const path = join(folder, 'README.md');
  const front = existsSync(path) ? (/^---\r?\n([\s\S]*?)\r?\n---/.exec(readFileSync(path, 'utf8'))?.[1] ?? '') : '';
  const field = (name: string) => new RegExp(`^${name}: *["']?([\\w./-]+)["']? *$`, 'm').exec(front)?.[1] ?? null;
  const known = repository === null ? undefined : LICENSES.find(([names]) => names.test(repository))?.[1];
  return { license: known ?? field('license'), baseModel: repository ?? field('base_model') };
}

/**
 * @param title the model's name, for the heading.
 * @param scores for a reward model: decides where its scores are read (see `RewardModel`).
 */
export function modelCard(
  title: string,
  { license, baseModel }: Origin,
  config: GPT2Config,
  dtype: string,
  scores?: { readonly padTokenId: number | null },
): string {
  const { nLayer, nHead, nEmbd, blockSize, vocabSize } = config;
  const scoreHead = scores !== undefined;
  const auto = scoreHead ? 'AutoModelForSequenceClassification' : 'AutoModelForCausalLM';
  const kind = scoreHead ? 'reward model, a GPT-2 with a scalar head,' : 'GPT-2';
  const tokens = vocabSize.toLocaleString('en');
  const size =
    `${plural(nLayer, 'layer')}, ${plural(nHead, 'head')}, width ${nEmbd}, ` +
    `${plural(blockSize, 'position')} and ${tokens} token${vocabSize === 1 ? '' : 's'}`;
  const field = (name: string, value: string | null) => (value === null ? '' : `${name}: ${value}\n`);
  const facts = field('license', license) + field('base_model', baseModel);
  const source = baseModel === null ? '' : `, made from ${baseModel}`;
  return `---
${facts}library_name: transformers
pipeline_tag: ${scoreHead ? 'text-classification' : 'text-generation'}
tags:
- gpt2
- alignbook
---

# ${title}

A ${kind} with ${size}, stored as ${dtype}${source}. Written by alignbook.

\`\`\`python
from transformers import ${auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = ${auto}.from_pretrained("path/to/this/folder")
\`\`\`
${scores === undefined ? '' : `\n${scorePlace(scores.padTokenId)}\n`}`;
}

function scorePlace(padTokenId: number | null): string {
  if (padTokenId === null)
    return (
      'The score of a prompt and its response is the logit of its last token. There is no padding token: ' +
      'score one text at a time, or choose a padding token that occurs in no text.'
    );
  return (
    `The score of a prompt and its response is the logit at the last token that is not token ${padTokenId}, the ` +
    '`pad_token_id` of config.json: where that is the end-of-sequence token, at the last token before the end. ' +
    'transformers and TRL read it there by themselves; pad batches with that token.'
  );
}

/** The README.md of an adapter's folder. */
export function adapterCard(title: string, base: BaseModel, { license }: Origin): string {
  const revision = base.revision === null ? '' : `, revision="${base.revision}"`;
  const embedded = base.name === 'tiny'; // Python does not know it by name
  const place = embedded ? 'path/to/tiny' : base.name;
  return `---
${license === null ? '' : `license: ${license}\n`}base_model: ${base.name}
library_name: peft
pipeline_tag: text-generation
tags:
- gpt2
- lora
- alignbook
---

# ${title}

A LoRA adapter of ${base.name}. Written by alignbook.

\`\`\`python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("${place}"${revision})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
\`\`\`
${embedded ? '\n`npx alignbook export --model tiny --out path/to/tiny` writes its base model for Python.\n' : ''}`;
}

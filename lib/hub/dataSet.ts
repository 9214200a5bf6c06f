/** Finds the files of a data set on the hub by its name, and downloads those that the cache lacks. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { HubError, InputError, plural, quoted } from '../errors';
import { replaceEntry } from '../formats/replace';
import { CachedRepository, damagedFiles, removeFile } from './cache';
import { chooseFiles, parseCard, type Card, type Chosen } from './dataSetFiles';
import { REPOSITORY, REVISION } from './modelName';
import { RemoteRepository, type DownloadOptions, type ListedFile } from './repository';
import { hubSettings } from './settings';

export interface DataSetName {
  /** `organization/name`, or `name`. */
  readonly repository: string;
  /** A branch, a tag, or a commit. */
  readonly revision: string;
  /** A file or a folder in the repository. */
  readonly path: string | undefined;
  readonly split: string | undefined;
}

/** Whether rows are named by a data set on the hub rather than by a file. */
export const isDataSetName = (name: string): boolean => name.startsWith('hf:');

const FORM = 'hf:ORGANIZATION/NAME, and after it @REVISION, /FOLDER or /FILE, and #SPLIT as needed';

/**
 * @param name such as `hf:Anthropic/hh-rlhf`, `hf:Anthropic/hh-rlhf@main/harmless-base#test`. Python's form with
 *   `hf://datasets/` is accepted, too. A revision may contain a slash only as `refs/convert/parquet` or `refs/pr/1` do.
 * @throws InputError if the name has another form.
 */
export function parseDataSetName(name: string): DataSetName {
  const [whole = '', split, ...more] = name.replace(/^hf:(\/\/)?(datasets\/)?/, '').split('#');
  const parts = /^([^@/]+(?:\/[^@/]+)?)(?:@(refs\/[^/]+\/[^/]+|[^/]+))?(?:\/([^@]+))?$/.exec(whole);
  const [, repository = '', revision = 'main', path] = parts ?? [];
  const isSplit = split === undefined || /^\w[\w.]*$/.test(split);
  if (more.length > 0 || !isSplit || !REPOSITORY.test(repository) || !REVISION.test(revision) || hasDots(path))
    throw new InputError(
      `${quoted(name)} is not a data set's name: write ${FORM}` +
        (isSplit ? '' : '; a part of a split is taken by limit and shuffleSeed'),
    );
  return { repository, revision, path, split };
}

/** A path with such a part could lead out of the snapshot. */
const hasDots = (path: string | undefined): boolean => path?.split('/').some((part) => /^\.*$/.test(part)) === true;

export interface DataSet {
  /** The files of rows in the cache, and their paths in the repository. */
  readonly files: readonly { readonly path: string; readonly name: string }[];
  /** One line for people: what was chosen, its rows, its license and its commit. */
  readonly description: string;
}

/**
 * The files of rows of a data set. Files that the Hugging Face cache contains, whether from Python or from here, are
 * used without a request, even if the hub has newer ones; missing files are downloaded into it.
 *
 * @param name as `parseDataSetName` takes it. Without a split it is train, or the only split there is.
 * @param options.configName the configuration, also called subset; default: the data set's default.
 * @param options.check ask the hub whether the revision still points to the cached commit, and download cached files
 *   again whose bytes do not match their hash. Default false.
 * @throws InputError if the name is wrong, or the data set has no such split, configuration or file, or none that can
 *   be read; HubError if it cannot be downloaded.
 */
export async function dataSetFiles(
  name: string,
  {
    configName,
    check = false,
    ...options
  }: DownloadOptions & { readonly configName?: string | undefined; readonly check?: boolean } = {},
): Promise<DataSet> {
  const wanted = parseDataSetName(name);
  const { repository, revision } = wanted;
  const settings = hubSettings();
  const cached = new CachedRepository(settings.cache, repository, 'dataset');
  const choose = (all: readonly string[], folder: string): [Card, Chosen] => {
    try {
      const card = cardOf(folder);
      return [card, chooseFiles(all, card, { ...wanted, configName })];
    } catch (cause) {
      throw cause instanceof InputError ? new InputError(`"${repository}": ${cause.message}`, { cause }) : cause;
    }
  };
  const result = (folder: string, [card, chosen]: [Card, Chosen]): DataSet => ({
    files: chosen.files.map((file) => ({ path: join(folder, file), name: file })),
    description: describe(repository, folder, card, chosen),
  });

  const asks = check && !settings.offline;
  const commit = asks ? null : cached.commit(revision);
  if (commit !== null) {
    const folder = cached.snapshot(commit);
    const list = cachedList(cached, commit) ?? (settings.offline ? wholeSnapshot(folder) : undefined);
    if (list !== undefined && (existsSync(join(folder, CARD)) || !list.includes(CARD))) {
      const chosen = choose(list, folder);
      if (chosen[1].files.every((file) => existsSync(join(folder, file)))) return result(folder, chosen);
    }
  }
  if (settings.offline)
    throw new HubError(
      `the data set "${repository}" is not complete in the Hugging Face cache (${cached.folder}), and HF_HUB_OFFLINE ` +
        'is set; unset it, or give a file of rows',
    );
  const remote = await RemoteRepository.open(
    repository,
    { kind: 'dataset', revision: commit ?? revision },
    settings,
    options,
  );
  if (asks) for (const file of damagedFiles(remote.folder)) removeFile(remote.folder, file);
  const list = remote.list.map(({ rfilename }) => rfilename);
  if (list.includes(CARD)) await remote.fetch(CARD);
  const chosen = choose(list, remote.folder);
  for (const file of chosen[1].files) await remote.fetch(file);
  keepList(cached, remote.commit, remote.list);
  remote.pin();
  return result(remote.folder, chosen);
}

const CARD = 'README.md';

function cardOf(folder: string): Card {
  const path = join(folder, CARD);
  return parseCard(existsSync(path) ? readFileSync(path, 'utf8') : '');
}

function describe(repository: string, folder: string, card: Card, { configName, split, files, rows }: Chosen): string {
  const of = [
    ...(configName === null ? [] : [`configuration ${configName}`]),
    ...(split === null ? [] : [`split ${split}`]),
    files.length === 1 ? files[0]! : plural(files.length, 'file'),
    ...(rows === null ? [] : [`${plural(rows, 'row')} by its card`]),
    card.license === null ? 'no license named' : `license ${card.license}`,
    `commit ${folder.split(/[\\/]/).at(-1)!.slice(0, 7)}`,
  ];
  return `${repository}: ${of.join(', ')}`;
}

/** huggingface_hub's own file of a commit's files (its _tree_cache.py), so that each finds the other's. */
const listPath = ({ folder }: CachedRepository, commit: string): string => join(folder, 'trees', `${commit}.json`);
const LIST_VERSION = 1;

/** The names in a commit's list, or undefined if there is none that can be read. */
function cachedList(cached: CachedRepository, commit: string): string[] | undefined {
  try {
    const { format_version: version, files } = JSON.parse(readFileSync(listPath(cached, commit), 'utf8')) as {
      format_version: unknown;
      files: object;
    };
    return version === LIST_VERSION ? Object.keys(files) : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a commit's list. A mirror that names no hashes gives a list that Python could not use: it is not kept. */
function keepList(cached: CachedRepository, commit: string, list: readonly ListedFile[]): void {
  const path = listPath(cached, commit);
  if (existsSync(path) || list.some(({ size, blobId }) => size === undefined || blobId === undefined)) return;
  const files = list.map(({ rfilename, size, blobId, lfs }) => [
    rfilename,
    { size, blob_id: blobId, ...(lfs && { lfs_sha256: lfs.sha256, lfs_size: lfs.size }) },
  ]);
  mkdirSync(dirname(path), { recursive: true });
  replaceEntry(path, (temporary) =>
    writeFileSync(
      temporary,
      JSON.stringify({ format_version: LIST_VERSION, files: Object.fromEntries(files) }, null, 1),
    ),
  );
}

/**
 * The files of a snapshot for which there is no list, as far as they are complete: Python's datasets downloads only
 * what it reads. Undefined if shards are missing.
 */
function wholeSnapshot(folder: string): string[] | undefined {
  if (!existsSync(folder)) return undefined;
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => statSync(join(folder, file), { throwIfNoEntry: false })?.isFile() === true)
    .map((file) => file.replaceAll('\\', '/'));
  const shards = new Map<string, number>();
  for (const file of files) {
    const [, stem = '', of = ''] = /^(.*)-\d{5}-of-(\d{5})/.exec(file) ?? [];
    if (of !== '') shards.set(`${stem} ${of}`, (shards.get(`${stem} ${of}`) ?? 0) + 1);
  }
  return [...shards].every(([key, count]) => count === Number(key.split(' ').at(-1))) ? files : undefined;
}

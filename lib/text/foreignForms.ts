/**
 * Recognizes, by their first bytes, common data formats that are not read here, and names a command that converts them
 * to JSON Lines.
 */

/** Shell commands that convert a file into one that can be read. The quoted path replaces FILE. */
const REMEDY_OUTPUT = 'converted.jsonl';
const python = (code: string): string => `python3 -c '${code}' FILE`;
const table = (read: string, imports = ''): string =>
  python(`import sys, pyarrow${imports}, pyarrow.parquet as p; p.write_table(${read}, "converted.parquet")`);
const intoLines = (command: string): string => `${command} > ${REMEDY_OUTPUT}`;
const opened = 'open(sys.argv[1], encoding="utf-8-sig"';

const REMEDIES = {
  bunzip2: intoLines('bunzip2 -c FILE'),
  xz: intoLines('xz -dc FILE'),
  zstd: intoLines('zstd -dc FILE'),
  lz4: intoLines('lz4 -dc FILE'),
  unzip: intoLines('unzip -p FILE'),
  excel: python(
    `import sys, pandas; pandas.read_excel(sys.argv[1]).to_json("${REMEDY_OUTPUT}", orient="records", lines=True)`,
  ),
  feather: table('pyarrow.feather.read_table(sys.argv[1])', '.feather'),
  arrowStream: table('pyarrow.ipc.open_stream(sys.argv[1]).read_all()'),
  orc: table('pyarrow.orc.read_table(sys.argv[1])', '.orc'),
  sqlite: intoLines(
    python(
      'import json, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.row_factory = sqlite3.Row; ' +
        '[print(json.dumps(dict(row))) for row in c.execute("SELECT * FROM TABLE")]',
    ),
  ),
  array: intoLines(python(`import json, sys; [print(json.dumps(row)) for row in json.load(${opened}))]`)),
  key: intoLines(python(`import json, sys; [print(json.dumps(row)) for row in json.load(${opened}))["KEY"]]`)),
  columns: python(
    `import sys, pandas; pandas.read_json(sys.argv[1]).to_json("${REMEDY_OUTPUT}", orient="records", lines=True)`,
  ),
  split: python(
    `import sys, pandas; pandas.read_json(sys.argv[1], orient="split").to_json("${REMEDY_OUTPUT}", ` +
      'orient="records", lines=True)',
  ),
  objects: intoLines('jq -c . FILE'),
  dataset: python(`import sys, datasets; datasets.load_from_disk(sys.argv[1]).to_json("${REMEDY_OUTPUT}")`),
} as const;

/** A message with the name of the form, a remedy in words and, where one exists, a command that does it. */
const say = (form: string, words: string, remedy?: keyof typeof REMEDIES, path = '-', key = ''): string => {
  const command =
    remedy &&
    REMEDIES[remedy]
      .replaceAll('FILE', path === '-' ? 'FILE' : shellQuoted(path))
      .replace('["KEY"]', `[${JSON.stringify(key)}]`);
  return `${form}, which is not read here; ${words}${command === undefined ? '' : `: ${command}`}`;
};

const shellQuoted = (path: string): string =>
  /^[\w./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;

/** First bytes (as Latin-1), the form, and what to do. The order matters where one entry is a prefix of another. */
const MAGIC: readonly (readonly [start: string, form: string, words: string, remedy?: keyof typeof REMEDIES])[] = [
  ['BZh', 'is compressed with bzip2', 'decompress it first', 'bunzip2'],
  ['\xfd7zXZ\0', 'is compressed with xz', 'decompress it first', 'xz'],
  ['\x28\xb5\x2f\xfd', 'is compressed with Zstandard', 'decompress it first', 'zstd'],
  ['\x04\x22\x4d\x18', 'is compressed with LZ4', 'decompress it first', 'lz4'],
  ['7z\xbc\xaf\x27\x1c', 'is a 7z archive', 'unpack it first'],
  ['ARROW1', 'is an Arrow file (Feather)', 'convert it to Parquet', 'feather'],
  ['FEA1', 'is a Feather file', 'convert it to Parquet', 'feather'],
  ['\xff\xff\xff\xff', 'is a stream of Arrow record batches', 'convert it to Parquet', 'arrowStream'],
  ['ORC', 'is an ORC file', 'convert it to Parquet', 'orc'],
  ['Obj\x01', 'is an Avro file', 'write its rows as JSON lines or Parquet'],
  ['SQLite format 3\0', 'is an SQLite database', 'replace TABLE by the name of its table', 'sqlite'],
  ['\xd0\xcf\x11\xe0', 'is an old Excel workbook or another Office file', 'save its table as CSV (UTF-8)'],
  ['\x89HDF', 'is an HDF5 file', 'write its rows as JSON lines or Parquet'],
  ['\x93NUMPY', 'is a NumPy array', 'write its rows as JSON lines'],
  [
    'version https://git-lfs.github.com/spec/',
    'is a Git LFS pointer',
    'run "git lfs pull" where it was cloned, or download the file',
  ],
  ['%PDF', 'is a PDF', 'give a file of rows'],
];

/**
 * @param start the file's first bytes, as many as are available; a few tens of kilobytes suffice to recognize every
 *   form.
 * @param path used in the remedy's command; `-` is standard input.
 * @returns the form and the remedy, for a message that begins with the file's name; undefined if the file may be JSON
 *   Lines.
 */
export function foreignForm(start: Buffer, path: string): string | undefined {
  const bytes = start.toString('latin1');
  if (bytes.startsWith('PK\x03\x04')) {
    const workbook = /\[Content_Types\]\.xml|xl\/|_rels\//.test(bytes.slice(0, 2000));
    return workbook
      ? say('is an Excel workbook', 'convert its first sheet to JSON lines', 'excel', path)
      : say('is a zip archive', 'unpack it first', 'unzip', path);
  }
  const known = MAGIC.find(([magic]) => bytes.startsWith(magic));
  if (known) return say(known[1], known[2], known[3], path);
  if (bytes.slice(257, 262) === 'ustar') return say('is a tar archive', 'unpack it first');
  if (/^\x80[\x02-\x05](?:[\x95c}\]])/.test(bytes)) return say('is a Python pickle', 'write its rows as JSON lines');
  return otherEncoding(bytes, path) ?? otherText(start.toString('utf8').replace(/^\ufeff/, ''), path);
}

/**
 * Recognizes UTF-16 and UTF-32 by their byte order mark, or by the zero bytes within the first characters of JSON or
 * CSV.
 */
function otherEncoding(bytes: string, path: string): string | undefined {
  const encoding =
    bytes.startsWith('\xff\xfe\0\0') || bytes.startsWith('\0\0\xfe\xff')
      ? 'UTF-32'
      : bytes.startsWith('\xff\xfe') || bytes.startsWith('\xfe\xff')
        ? 'UTF-16'
        : /^[^\0]\0[^\0]\0/.test(bytes)
          ? 'UTF-16LE'
          : /^\0[^\0]\0[^\0]/.test(bytes)
            ? 'UTF-16BE'
            : undefined;
  if (encoding === undefined) return undefined;
  const file = path === '-' ? '' : ` ${shellQuoted(path)}`;
  return (
    `is ${encoding}, and rows are read as UTF-8; convert it: iconv -f ${encoding} -t UTF-8${file} > ` +
    `${REMEDY_OUTPUT}`
  );
}

/** Fields of a row whose values are lists. A list of objects under any other key is a list of rows. */
const LISTS = [
  'prompt',
  'chosen',
  'rejected',
  'messages',
  'completion',
  'conversations',
  'history',
  'tools',
  'documents',
  'images',
];

function otherText(text: string, path: string): string | undefined {
  if (/^\s*\[\s*[[{]/.test(text) || /^\s*\[\s*$/.test(text))
    return say('is a JSON array of lists, or a very large one', 'write its rows as JSON lines', 'array', path);
  if (/^\s*\[\s*\]\s*$/.test(text)) return 'is an empty JSON array: it has no rows';
  if (/^\s*<(!doctype|html|head|body)\b/i.test(text)) {
    return say(
      'is an HTML page',
      'download the file itself (on the Hugging Face hub the address with /resolve/ in place of /blob/; a gated ' +
        'data set also needs a token)',
    );
  }
  if (/^\s*<\?xml\b/.test(text)) return say('is XML', 'write its rows as JSON lines');
  const [first = '', second = ''] = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (first.startsWith('{')) return continues(first, second) ? overSeveralLines(text, path) : undefined;
  return undefined;
}

/** Whether an object continues from one line to the next, as in indented JSON, rather than the line being cut off. */
function continues(line: string, next: string): boolean {
  return (
    (/[{,]$/.test(line) && next.startsWith('"')) ||
    (line.endsWith('[') && /^["[{]/.test(next)) ||
    (/["\d\]}el]$/.test(line) && next.startsWith(',')) ||
    (line === '{' && next === '}')
  );
}

function overSeveralLines(text: string, path: string): string {
  const key = /"([^"\\]{1,60})"\s*:\s*\[\s*\{/.exec(text)?.[1];
  if (key !== undefined && !LISTS.includes(key))
    return say(`is one JSON object with a list of rows in "${key}"`, 'write them as JSON lines', 'key', path, key);
  return say('has JSON objects over several lines', 'write each row in one line', 'objects', path);
}

/**
 * Recognizes, from the first line, a table that pandas' `to_json` wrote without `orient="records"` (by columns, or
 * split), or one object that contains the rows as a list.
 *
 * @param known fields that a row may have. An object with one of them is a row.
 */
export function foreignObject(
  row: Readonly<Record<string, unknown>>,
  known: readonly string[],
  path: string,
): string | undefined {
  const values = Object.values(row);
  const numbered = (value: unknown): boolean =>
    isObject(value) && '0' in value && Object.keys(value).every((key, index) => key === String(index));
  if (values.length > 0 && values.every(numbered))
    return say('is a table by columns, as pandas writes it', 'write its rows as JSON lines', 'columns', path);
  if (Object.keys(row).sort().join() === 'columns,data,index')
    return say('is a table that pandas wrote with orient="split"', 'write its rows as JSON lines', 'split', path);
  const key = Object.keys(row).find(
    (name) => !LISTS.includes(name) && Array.isArray(row[name]) && isObject((row[name] as unknown[])[0]),
  );
  if (key === undefined || Object.keys(row).some((name) => known.includes(name))) return undefined;
  return say(
    `is one JSON object with a list of rows in ${JSON.stringify(key)}`,
    'write them as JSON lines',
    'key',
    path,
    key,
  );
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** @param names the names of the folder's entries. */
export function foreignFolder(names: readonly string[], path: string): string {
  if (names.some((name) => name === 'state.json' || name === 'dataset_dict.json')) {
    return say(
      'is a folder that datasets saved',
      names.includes('dataset_dict.json')
        ? 'convert the folder of one split to JSON lines'
        : 'convert it to JSON lines',
      'dataset',
      path,
    );
  }
  const files = names.filter((name) => /\.(jsonl|ndjson|parquet)$/.test(name)).sort();
  const base = path.replace(/\/+$/, '');
  return files.length === 0
    ? 'is a folder, without a .jsonl or .parquet file in it; give a file of rows'
    : `is a folder; give one of its files, such as ${base}/${files[0]!}`;
}

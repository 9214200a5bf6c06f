/** `alignbook score`: scores a file of rows, or serves scores over HTTP. */
import { readFileSync } from 'node:fs';

import { FileError, plural } from '../errors';
import { replaceFile } from '../formats/replace';
import { gpt2Files } from '../model/folder';
import { RewardModel } from '../model/rewardModel';
import { scoredRows } from '../model/score';
import { readCandidates } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { calibration } from '../training/calibration';
import { withDefaults, type OptionsOf } from '../training/declare';
import { flagOf, UsageError } from './commandLine';
import { scoreSettings } from './commandSettings';
import { readData } from './readData';
import { isLoopback, serveScores } from './scoreServer';
import { statusLine } from './terminal';

type Settings = OptionsOf<typeof scoreSettings>;

export async function run(settings: Settings): Promise<void> {
  const { model: name, data, serve } = withDefaults(settings, scoreSettings);
  const idle = (['data', 'output', 'skipBad', 'host', 'port', 'tokenFile'] as const).find(
    (other) => settings[other] !== undefined && serve === OF_FILES.some((ofFiles) => ofFiles === other),
  );
  if (idle !== undefined)
    throw new UsageError(`${flagOf(idle)} does nothing ${serve ? 'with' : 'without'} --serve; leave one of them out`);
  if (!serve && data === undefined) throw new UsageError('score needs --data or --serve');
  const listening = serve ? addressOf(settings) : undefined;
  await gpt2Files(name);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await RewardModel.fromPretrained(name);
  return listening === undefined
    ? scoreFile(data!, model, tokenizer, settings)
    : serveUntilSignal(model, tokenizer, { ...listening, batchSize: withDefaults(settings, scoreSettings).batchSize });
}

/** Settings that have a meaning only without `serve`. */
const OF_FILES = ['data', 'output', 'skipBad', 'configName', 'map', 'limit', 'shuffleSeed'] as const;

async function scoreFile(data: string, model: RewardModel, tokenizer: Tokenizer, settings: Settings): Promise<void> {
  const { batchSize, output } = withDefaults(settings, scoreSettings);
  const rows = await readData(settings, model.config, (rowOptions) => readCandidates(data, tokenizer, rowOptions), {
    tellMerges: false,
  });

  const margins: number[] = [];
  const write = (append: (line: string) => void): void => {
    let done = 0;
    for (const [first, second] of scoredRows(model, rows, { batchSize })) {
      append(`${JSON.stringify(second === undefined ? { score: first } : { chosen: first, rejected: second })}\n`);
      if (second !== undefined) margins.push(first! - second);
      done += 1;
      statusLine(`${done} of ${plural(rows.length, 'row')}`);
    }
    statusLine('');
  };
  if (output === undefined) write((line) => process.stdout.write(line));
  else replaceFile(output, write);
  if (margins.length === 0) return;
  const { calibrationError, brier } = calibration(margins);
  const accuracy = margins.filter((margin) => margin > 0).length / margins.length;
  console.error(
    `${plural(margins.length, 'pair')}: accuracy ${accuracy.toFixed(4)}, ` +
      `calibration error ${calibrationError.toFixed(4)}, Brier score ${brier.toFixed(4)}`,
  );
}

interface Address {
  readonly host: string;
  readonly port: number;
  readonly token: string | undefined;
}

/** @throws UsageError if other machines could ask without a token; FileError if the token's file has none. */
function addressOf(settings: Settings): Address {
  const { host, port, tokenFile } = withDefaults(settings, scoreSettings);
  if (tokenFile === undefined && !isLoopback(host))
    throw new UsageError(`--host ${host} is reachable from other machines, so --serve needs --token-file there`);
  if (tokenFile === undefined) return { host, port, token: undefined };
  let token: string;
  try {
    token = readFileSync(tokenFile, 'utf8').trim();
  } catch (cause) {
    throw new FileError(tokenFile, `cannot be read (${(cause as Error).message})`, { cause });
  }
  if (!/^[!-~]{16,4096}$/.test(token))
    throw new FileError(tokenFile, 'is not a token: one line of 16 characters or more; openssl rand -hex 32 makes one');
  return { host, port, token };
}

/** Serves until SIGINT, SIGTERM or SIGHUP, and then finishes the requests that have begun. */
async function serveUntilSignal(
  model: RewardModel,
  tokenizer: Tokenizer,
  options: Address & { readonly batchSize: number },
): Promise<void> {
  const asked = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  const server = await serveScores(model, tokenizer, options);
  console.log(`scoring at ${server.url}/score; Ctrl-C ends it`);
  await asked;
  await server.close();
  model.dispose();
}

/** An HTTP server that scores responses with a reward model, for trainings that run elsewhere. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { isIP, type AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';

import { InputError, oneLine } from '../errors';
import type { RewardModel } from '../model/rewardModel';
import { scoreResponses } from '../model/score';
import { endedIds, type Encoder } from '../text/batch';
import type { PromptResponses } from '../text/responseBatch';

/** Size of a request's body in bytes: 4,096 rows of 128 tokens, or 600 of 1,024. */
const LARGEST_BODY = 4e6;
/** A body that is too large is read to its end, so that the client sees the answer, but only up to this size. */
const LARGEST_DISCARDED = 16e6;
const MOST_ROWS = 4096;
/** Rows of all requests together that wait to be scored. */
const MOST_WAITING = 65_536;
const MOST_CONNECTIONS = 256;
/** Milliseconds within which a request must have arrived. */
const ARRIVAL = 60_000;
/** Milliseconds that requests have to finish after the server is asked to end. */
const GRACE = 10_000;

export interface ScoreServerOptions {
  /** The address to listen at. */
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** If given, requests must carry it as `Authorization: Bearer TOKEN`. */
  readonly token?: string | undefined;
  /** Rows per batch; a batch may hold rows of several requests. */
  readonly batchSize: number;
}

export interface ScoreServer {
  /** Such as http://127.0.0.1:8900, without a path. */
  readonly url: string;
  /** Stops listening, answers the requests that have begun, and then resolves. */
  close(): Promise<void>;
}

/** Whether only programs of this machine reach the address. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/**
 * Answers `POST /score` with `{"scores": [...]}`, one number for each of the request's `{"rows": [...]}`. A row is
 * `{"prompt", "response"}`, texts, of which the response gets an end-of-sequence token; or `{"promptIds", "ids"}`,
 * token ids, which are scored as they are. An error is answered as `{"error": "..."}`, on one line.
 *
 * @throws the system's error if the address cannot be listened at.
 */
export async function serveScores(
  model: RewardModel,
  tokenizer: Encoder,
  { host, port, token, batchSize }: ScoreServerOptions,
): Promise<ScoreServer> {
  const queue = new Queue(model, batchSize);
  let closing = false;
  const server = createServer((request, response) => {
    const send = (status: number, body: object, headers: Readonly<Record<string, string>> = {}): void => {
      if (response.destroyed) return; // the client has gone
      response.writeHead(status, {
        'content-type': 'application/json',
        ...(closing && { connection: 'close' }),
        ...headers,
      });
      response.end(`${JSON.stringify(body)}\n`);
    };
    answer(request, { model, tokenizer, queue, token })
      .then((scores) => send(200, { scores }))
      .catch((error: unknown) => {
        if (error instanceof Refused) return send(error.status, { error: error.message }, error.headers);
        return send(error instanceof InputError ? 422 : 500, { error: oneLine(error) });
      });
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.requestTimeout = ARRIVAL;
  server.listen(port, host);
  await once(server, 'listening');
  const { address, family, port: taken } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`,
    async close() {
      closing = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const late = setTimeout(() => server.closeAllConnections(), GRACE);
      await closed;
      clearTimeout(late);
    },
  };
}

/** A request that is answered with an error, which says what to do. */
class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

/** Where the rest of a request is not read, the connection cannot be used again. */
const UNREAD = { connection: 'close' };

interface Scoring {
  readonly model: RewardModel;
  readonly tokenizer: Encoder;
  readonly queue: Queue;
  readonly token: string | undefined;
}

async function answer(request: IncomingMessage, { model, tokenizer, queue, token }: Scoring): Promise<number[]> {
  if (token !== undefined && !isBearer(request.headers.authorization, token))
    throw new Refused(401, 'the token is missing or wrong; send the header "Authorization: Bearer TOKEN"', {
      ...UNREAD,
      'www-authenticate': 'Bearer',
    });
  if (request.url !== '/score') throw new Refused(404, 'there is only /score; post the rows there', UNREAD);
  if (request.method !== 'POST') throw new Refused(405, '/score takes POST only; post {"rows": [...]}', UNREAD);
  const given = rowsOf(await bodyOf(request));
  const rows = given.map((row, n) => {
    try {
      return readRow(row, tokenizer, model.config);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw new Refused(400, `rows[${n}]: ${error.message}`);
    }
  });
  return queue.score(rows);
}

/** Compares digests, so that the time taken says nothing about the token. */
function isBearer(header: string | undefined, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return header !== undefined && timingSafeEqual(digest(header), digest(`Bearer ${token}`));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const tooLarge = (headers = {}) =>
    new Refused(413, `the body has more than ${LARGEST_BODY / 1e6} MB; split the rows into several requests`, headers);
  if (Number(request.headers['content-length'] ?? 0) > LARGEST_DISCARDED) throw tooLarge(UNREAD);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_DISCARDED) throw tooLarge(UNREAD);
    if (size <= LARGEST_BODY) chunks.push(chunk);
  }
  if (size > LARGEST_BODY) throw tooLarge();
  return Buffer.concat(chunks).toString();
}

function rowsOf(body: string): unknown[] {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (error) {
    throw new Refused(400, `the body is not JSON (${oneLine(error)}); post {"rows": [...]}`);
  }
  const { rows } = (json ?? {}) as { rows?: unknown };
  if (!Array.isArray(rows)) throw new Refused(400, 'the body has no list "rows"; post {"rows": [...]}');
  if (rows.length > MOST_ROWS)
    throw new Refused(400, `the request has ${rows.length} rows, more than ${MOST_ROWS}; split it into several`);
  return rows;
}

/** @throws InputError if the row cannot be scored. */
function readRow(
  row: unknown,
  tokenizer: Encoder,
  { blockSize, vocabSize }: { readonly blockSize: number; readonly vocabSize: number },
): PromptResponses {
  const { prompt, response, promptIds, ids } = (row ?? {}) as Record<string, unknown>;
  let read: [prompt: readonly number[], response: readonly number[]];
  if (isText(prompt) && isText(response)) read = [tokenizer.encode(prompt), endedIds(tokenizer, response)];
  else if (isIds(promptIds) && isIds(ids)) read = [promptIds, ids];
  else
    throw new InputError(
      'give "prompt" and "response", texts, or "promptIds" and "ids", lists of token ids, none empty',
    );
  const wrong = read.flat().find((id) => id >= vocabSize);
  if (wrong !== undefined) throw new InputError(`the model has no token ${wrong}; its ids end at ${vocabSize - 1}`);
  const length = read[0].length + read[1].length;
  if (length > blockSize)
    throw new InputError(`${length} tokens, and the model's window is ${blockSize}; shorten the texts`);
  return { promptIds: read[0], responses: [read[1]] };
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0);

interface Waiting {
  readonly row: PromptResponses;
  readonly resolve: (score: number) => void;
  readonly reject: (error: unknown) => void;
}

/** Scores the rows of all requests on one model, batch by batch, in the order in which they arrived. */
class Queue {
  readonly #model: RewardModel;
  readonly #batchSize: number;
  readonly #waiting: Waiting[] = [];
  #running = false;

  constructor(model: RewardModel, batchSize: number) {
    this.#model = model;
    this.#batchSize = batchSize;
  }

  /** @throws Refused if too many rows are waiting; InputError if a score is not finite. */
  score(rows: readonly PromptResponses[]): Promise<number[]> {
    if (this.#waiting.length + rows.length > MOST_WAITING)
      throw new Refused(503, `${this.#waiting.length} rows are waiting already; try again later`);
    const scores = rows.map(
      (row) => new Promise<number>((resolve, reject) => this.#waiting.push({ row, resolve, reject })),
    );
    if (!this.#running) void this.#run();
    return Promise.all(scores);
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      await turn(); // requests arrive between two batches
      const batch = this.#waiting.splice(0, this.#batchSize);
      try {
        const scores = scoreResponses(
          this.#model,
          batch.map(({ row }) => row),
          { batchSize: this.#batchSize },
        );
        batch.forEach(({ resolve }, n) => resolve(scores[n]![0]!));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#running = false;
  }
}

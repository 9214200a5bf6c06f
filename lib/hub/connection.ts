/** Makes requests to the hub, with redirects, the token, time limits and retries. */
import { setTimeout as sleep } from 'node:timers/promises';

import { HubError, plural, quoted } from '../errors';
import { environmentFetch } from './proxy';
import { failure, Passing, refusal, type Asked } from './refusal';

/** What a request is about, in the words of error messages. */
export type Subject = Omit<Asked, 'endpoint' | 'hasToken'>;

/** Number of consecutive failures, with nothing new received, after which a download is abandoned. */
const ATTEMPTS = 6;
const REDIRECTS = 10;
const REDIRECT = [301, 302, 303, 307, 308];

/** Limits on the size and slowness of a response, since nothing from a network can be trusted. */
export interface Bounds {
  /** Maximum bytes in a list of files, uncompressed. */
  readonly list: number;
  /** Maximum bytes in a file other than weights. */
  readonly file: number;
  /** Maximum bytes in a file of weights. */
  readonly weights: number;
  /** Maximum bytes in a data set's file of rows. */
  readonly data: number;
  /** Minimum bytes per second, averaged over `window` milliseconds. */
  readonly leastSpeed: number;
  readonly window: number;
}

/** A list of 100,000 files takes 6 MB, GPT-2's tokenizer 1.4 MB, and its largest weights in float32 6.4 GB. */
const BOUNDS: Bounds = { list: 16e6, file: 100e6, weights: 64e9, data: 16e9, leastSpeed: 4000, window: 60_000 };

/**
 * The transfer is slower than `leastSpeed`. Received bytes do not reset the count of failures, since even the slowest
 * transfer receives some.
 */
class Slow extends Passing {}

/** A response exceeds its limit in bytes. */
export class TooLarge extends HubError {}

export interface ConnectionOptions {
  /** Milliseconds before the second attempt after a temporary failure, doubled for each further one. Default 1000. */
  readonly retryDelay?: number;
  /** Milliseconds without a byte after which a connection counts as broken. Default 30,000. */
  readonly timeout?: number;
  /** Override the default limits. */
  readonly bounds?: Partial<Bounds>;
}

/** Longest wait before a retry, in milliseconds. The hub counts requests over five minutes. */
const LONGEST_WAIT = 360_000;

export class Connection {
  readonly #retryDelay: number;
  readonly #timeout: number;
  readonly #fetch: typeof fetch;
  readonly bounds: Bounds;

  constructor(
    readonly endpoint: string,
    readonly token: string | null,
    { retryDelay = 1000, timeout = 30_000, bounds }: ConnectionOptions = {},
  ) {
    this.#retryDelay = retryDelay;
    this.#timeout = timeout;
    this.#fetch = environmentFetch();
    this.bounds = { ...BOUNDS, ...bounds };
    if (!/^https?:\/\/[^/]/.test(endpoint) || !URL.canParse(endpoint))
      throw new HubError(`HF_ENDPOINT must be an address such as https://huggingface.co, not ${quoted(endpoint)}`);
  }

  /**
   * Makes one request and passes its response to `read`. Redirects are followed manually, so that the token goes only
   * to the endpoint's own host, and so that a HEAD request stops at the response with x-linked-etag, before the storage
   * host.
   *
   * @param path the path below the endpoint.
   * @param read receives the response and its bytes, uncompressed, as they arrive.
   * @param most maximum number of those bytes.
   * @throws TooLarge if more bytes arrive.
   * @throws HubError, or Passing if another attempt may succeed; also whatever `read` throws.
   */
  async request<T>(
    path: string,
    subject: Subject,
    read: (answer: Response, bytes: AsyncIterable<Uint8Array>) => Promise<T>,
    { method = 'GET', range = '', most }: { method?: string; range?: string; most: number },
  ): Promise<T> {
    const asked = { ...subject, endpoint: this.endpoint, hasToken: this.token !== null };
    const home = new URL(this.endpoint).origin;
    const silence = new AbortController();
    const clock = setTimeout(() => silence.abort(new Error(`silent for ${this.#timeout / 1000} s`)), this.#timeout);
    let url = new URL(`${this.endpoint}${path}`);
    try {
      for (let hop = 0; hop <= REDIRECTS; hop += 1) {
        const headers = {
          'user-agent': 'alignbook',
          'accept-encoding': 'identity', // sizes and ranges are those of the file
          ...(url.origin === home && this.token !== null && { authorization: `Bearer ${this.token}` }),
          ...(range !== '' && { range }),
        };
        const answer = await this.#fetch(url, { method, headers, redirect: 'manual', signal: silence.signal }).catch(
          (cause) => {
            throw failure(cause, url.host, asked);
          },
        );
        clock.refresh();
        const location = answer.headers.get('location');
        const moved = REDIRECT.includes(answer.status) && location !== null;
        if (answer.ok || (moved && method === 'HEAD' && answer.headers.has('x-linked-etag'))) {
          const lost = (cause: unknown) => failure(cause, url.host, asked);
          const check = this.#meter(url.host, subject.file ?? `the list of "${subject.repository}"'s files`, most);
          const arrived = (count: number) => {
            clock.refresh();
            check(count);
          };
          return await read(answer, bytesOf(answer, arrived, lost));
        }
        await answer.body?.cancel();
        if (!moved) throw refusal(answer, url, asked);
        url = target(location, url);
      }
      throw new HubError(`${url.host} redirects in a circle; check HF_ENDPOINT (now ${this.endpoint})`);
    } finally {
      clearTimeout(clock);
      silence.abort(); // closes a body that nothing reads
    }
  }

  /** Checks the amount and speed of the bytes that arrive. */
  #meter(host: string, what: string, most: number): (count: number) => void {
    const { leastSpeed, window } = this.bounds;
    let [received, since, at] = [0, 0, performance.now()];
    return (count) => {
      received += count;
      since += count;
      if (received > most)
        throw new TooLarge(
          `${host} sends more than ${amount(most)} as ${what}: it is not a Hugging Face hub, or a proxy answers ` +
            `instead; check HF_ENDPOINT (now ${this.endpoint}) and the network`,
        );
      const passed = performance.now() - at;
      if (passed < window) return;
      if (since / passed < leastSpeed / 1000)
        throw new Slow(`${host} sends ${what} at less than ${amount(leastSpeed)} per second`);
      [since, at] = [0, performance.now()];
    };
  }

  /**
   * Runs `attempt` until it succeeds or fails for good.
   *
   * @param tell receives the reason for a wait.
   * @param progressed says whether the last attempt received new bytes; if so, the count of failures restarts.
   * @throws HubError when it gives up.
   */
  async persist<T>(
    attempt: () => Promise<T>,
    { tell, progressed }: { tell?: (reason: string) => void; progressed?: () => boolean } = {},
  ): Promise<T> {
    for (let failures = 1; ; failures += 1) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        if (progressed?.() && !(error instanceof Slow)) failures = 1;
        if (failures === ATTEMPTS)
          throw new HubError(
            `${error.message}, ${ATTEMPTS} times in a row; try again later: the bytes received so far are kept`,
            { cause: error },
          );
        const wait = error.wait ?? this.#retryDelay * 2 ** (failures - 1);
        if (wait > LONGEST_WAIT)
          throw new HubError(
            `${error.message}, and asks to wait ${plural(Math.ceil(wait / 60_000), 'minute')}; try again ` +
              `then: the bytes ` +
              'received so far are kept',
            { cause: error },
          );
        tell?.(`${error.message}; trying again in ${Math.ceil(wait / 1000)} s`);
        await sleep(wait);
      }
    }
  }
}

/** @throws HubError if a redirect does not lead to a web address. */
function target(location: string, from: URL): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (to && /^https?:$/.test(to.protocol)) return to;
  throw new HubError(
    `${from.host} redirects to ${quoted(location)}, which is not an http or https address: a proxy answers ` +
      'instead, or the host is broken; check HF_ENDPOINT and the network',
  );
}

const UNITS = [
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1000, 'kB'],
  [1, 'bytes'],
] as const;

/** A number of bytes in words: "64 GB", "1.5 MB". */
export function amount(bytes: number): string {
  const [size, unit] = UNITS.find(([least]) => bytes >= least) ?? [1, 'bytes'];
  return `${Number((bytes / size).toPrecision(3)).toLocaleString('en')} ${unit}`;
}

/**
 * Yields a response's bytes. A connection error goes through `lost`, to distinguish it from an exception in the reader.
 */
async function* bytesOf(
  { body }: Response,
  arrived: (count: number) => void,
  lost: (cause: unknown) => Error,
): AsyncIterable<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw lost(cause);
    });
    if (done) return;
    arrived((value as Uint8Array).length);
    yield value as Uint8Array;
  }
}

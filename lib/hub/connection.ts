/** Requests to the hub: redirects, the token, silence, and trying again. */
import { setTimeout as sleep } from 'node:timers/promises';

import { HubError } from '../errors';
import { failure, Passing, refusal, type Asked } from './refusal';

/** What a request is about, as messages name it. */
export type Subject = Omit<Asked, 'endpoint' | 'hasToken'>;

/** Failures in a row, with nothing new received, after which a download is given up. */
const ATTEMPTS = 6;
const REDIRECTS = 10;
const REDIRECT = [301, 302, 303, 307, 308];

export interface ConnectionOptions {
  /** Milliseconds before the second attempt after a passing failure, doubled at each further one. Default 1000. */
  readonly retryDelay?: number;
  /** Milliseconds without a byte after which a connection counts as broken. Default 30,000. */
  readonly timeout?: number;
}

/** Longer than this is not waited for, in milliseconds; the hub counts its requests over five minutes. */
const LONGEST_WAIT = 360_000;

export class Connection {
  readonly #retryDelay: number;
  readonly #timeout: number;

  constructor(
    readonly endpoint: string,
    readonly token: string | null,
    { retryDelay = 1000, timeout = 30_000 }: ConnectionOptions = {},
  ) {
    this.#retryDelay = retryDelay;
    this.#timeout = timeout;
    if (!/^https?:\/\/[^/]/.test(endpoint)) throw new HubError(`HF_ENDPOINT must be an address such as https://huggingface.co, not "${endpoint}"`);
  }

  /**
   * Makes one request and hands its answer to `read`. Redirects are followed by hand: the token goes to the endpoint's own
   * host only, and a HEAD ends at the answer that bears x-linked-etag, before the storage host.
   *
   * @param path below the endpoint.
   * @param read is given the answer and its bytes as they arrive.
   * @throws HubError, or Passing where another attempt may succeed; and what `read` throws.
   */
  async request<T>(path: string, subject: Subject, read: (answer: Response, bytes: AsyncIterable<Uint8Array>) => Promise<T>, { method = 'GET', range = '' } = {}): Promise<T> {
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
        const answer = await fetch(url, { method, headers, redirect: 'manual', signal: silence.signal }).catch((cause) => {
          throw failure(cause, url.host, asked);
        });
        clock.refresh();
        const location = answer.headers.get('location');
        const moved = REDIRECT.includes(answer.status) && location !== null;
        if (answer.ok || (moved && method === 'HEAD' && answer.headers.has('x-linked-etag'))) {
          const lost = (cause: unknown) => failure(cause, url.host, asked);
          return await read(answer, bytesOf(answer, () => void clock.refresh(), lost));
        }
        await answer.body?.cancel();
        if (!moved) throw refusal(answer, url, asked);
        url = new URL(location, url);
      }
      throw new HubError(`${url.host} redirects in a circle; check HF_ENDPOINT (now ${this.endpoint})`);
    } finally {
      clearTimeout(clock);
      silence.abort(); // leaves no body behind that nobody reads
    }
  }

  /**
   * Runs `attempt` until it succeeds or fails for good.
   *
   * @param tell is told why there is a wait.
   * @param progressed whether the last attempt received something that none had before: then the count begins anew.
   * @throws HubError when it is given up.
   */
  async persist<T>(attempt: () => Promise<T>, { tell, progressed }: { tell?: (reason: string) => void; progressed?: () => boolean } = {}): Promise<T> {
    for (let failures = 1; ; failures += 1) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        if (progressed?.()) failures = 1;
        if (failures === ATTEMPTS) throw new HubError(`${error.message}, ${ATTEMPTS} times in a row; try again later: what has arrived is kept`, { cause: error });
        const wait = error.wait ?? this.#retryDelay * 2 ** (failures - 1);
        if (wait > LONGEST_WAIT) throw new HubError(`${error.message}, and asks to wait ${Math.ceil(wait / 60_000)} minutes; try again then: what has arrived is kept`, { cause: error });
        tell?.(`${error.message}; again in ${Math.ceil(wait / 1000)} s`);
        await sleep(wait);
      }
    }
  }
}

/** An answer's bytes; what breaks them off is told apart from what their reader throws. */
async function* bytesOf({ body }: Response, arrived: () => void, lost: (cause: unknown) => Error): AsyncIterable<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw lost(cause);
    });
    if (done) return;
    arrived();
    yield value as Uint8Array;
  }
}

/** Turns an error response from the hub, or a missing one, into an error that says what to do. */
import { HubError } from '../errors';
import { proxyVariable } from './proxy';

/** A temporary failure: the same request may succeed later. */
export class Passing extends Error {
  constructor(
    message: string,
    /** Milliseconds that the server asked to wait, or null. */
    readonly wait: number | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A request, as described in error messages. */
export interface Asked {
  readonly repository: string;
  /** Default: a model's. */
  readonly kind?: 'model' | 'dataset';
  readonly revision: string;
  readonly file?: string;
  readonly endpoint: string;
  readonly hasToken: boolean;
}

/**
 * The error for a response with a status of 400 or above. The hub distinguishes cases by the header X-Error-Code. It
 * hides private repositories: a repository that does not exist also gets a 401.
 */
export function refusal({ status, headers }: Response, url: URL, asked: Asked): HubError | Passing {
  const { repository, revision, file, endpoint, hasToken } = asked;
  const page = `${endpoint}/${asked.kind === 'dataset' ? 'datasets/' : ''}${repository}`;
  const code = headers.get('x-error-code');
  const tokens = 'HF_TOKEN or "hf auth login"';

  if (code === 'GatedRepo') {
    const remedy = hasToken
      ? `accept its terms at ${page} with the account that your token belongs to`
      : `accept its terms at ${page}, then give a token that belongs to that account (${tokens})`;
    return new HubError(`"${repository}" is gated: ${remedy}`);
  }
  if (code === 'RevisionNotFound')
    return new HubError(
      `"${repository}" has no revision "${revision}"; its branches and tags are listed at ${page}/tree/main`,
    );
  if (code === 'EntryNotFound')
    return new HubError(
      `"${repository}" has no ${file} at "${revision}"; its files are listed at ${page}/tree/${revision}`,
    );
  if (code === 'RepoNotFound' || (status === 404 && url.origin === new URL(endpoint).origin)) {
    const seen = hasToken
      ? 'does not exist, or your token has no access to it'
      : `does not exist, or is private and needs a token (${tokens})`;
    return new HubError(`"${repository}" ${seen}; check the name at ${page}`);
  }
  if (url.origin !== new URL(endpoint).origin && [403, 404].includes(status)) {
    // its signed address has expired; the hub provides a new one
    return new Passing(`the storage host ${url.host} answers ${status}`);
  }
  if (status === 401) {
    return new HubError(
      hasToken
        ? `${endpoint} refuses your token (401); make a new one at ${endpoint}/settings/tokens and give it as ${tokens}`
        : `"${repository}" needs a token (401); make one at ${endpoint}/settings/tokens and give it as ${tokens}`,
    );
  }
  if (status === 403)
    return new HubError(
      `${url.host} denies access to "${repository}" (403): ` +
        `${hasToken ? 'your token lacks the permission to read it' : `it may need a token (${tokens})`}; see ${page}`,
    );
  if (status === 416)
    return new HubError(
      `${url.host} has fewer bytes of ${file} than the hub lists; try again later, or set another HF_ENDPOINT`,
    );
  if (status === 429 || status === 408 || status >= 500)
    return new Passing(
      `${url.host} answers ${status}${status === 429 ? ', too many requests' : ''}`,
      retryAfter(headers),
    );
  return new HubError(
    `${url.host} answers ${status} to ${url.pathname}; check HF_ENDPOINT (now ${endpoint}), or download with ` +
      `"${byPython(asked)}"`,
  );
}

/** Wait in milliseconds, from Retry-After (in seconds or as a date) or the hub's own `ratelimit: "api";r=0;t=55`. */
export function retryAfter(headers: Headers): number | null {
  const text = headers.get('retry-after') ?? /;\s*t=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1];
  if (text === undefined) return null;
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(wait) ? null : Math.max(0, wait);
}

/** The error for a request that got no response, or whose response was cut off. */
export function failure(cause: unknown, host: string, asked: Asked): HubError | Passing {
  const code = errorCode(cause);
  const instead = `or download with "${byPython(asked)}" on a machine with network access, and copy the cache`;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new HubError(
      `${host} cannot be found (${code}): check ${places()}, or set HF_ENDPOINT to a mirror, ${instead}`,
      { cause },
    );
  }
  if (code === 'ECONNREFUSED' || code === 'ENETUNREACH' || code === 'EHOSTUNREACH') {
    return new HubError(`${host} cannot be reached (${code}): check ${places('HF_ENDPOINT')}, ${instead}`, { cause });
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL/.test(code)) {
    return new HubError(
      `${host} presents a certificate that is not trusted (${code}): if your proxy signs certificates itself, set ` +
        'NODE_EXTRA_CA_CERTS to the file of its certificate authority',
      { cause },
    );
  }
  const answer = /^Proxy response \((4\d\d)\)/.exec(messageOf(cause))?.[1];
  if (answer !== undefined)
    return new HubError(
      `the proxy refuses to connect to ${host} (${answer}): ` +
        `check ${proxyVariable()}, which may need a name and a password (http://name:password@proxy:3128)`,
      { cause },
    );
  return new Passing(`the connection to ${host} was lost (${code})`, null, { cause });
}

/** The command of huggingface_hub that downloads the same. */
const byPython = ({ repository, kind }: Asked): string =>
  `hf download ${repository}${kind === 'dataset' ? ' --repo-type dataset' : ''}`;

/** fetch() wraps the cause of an error, sometimes twice. */
const messageOf = (error: unknown): string => (error instanceof Error ? messageOf(error.cause) || error.message : '');

function errorCode(error: unknown): string {
  let found = error;
  while (found instanceof Error && (found as NodeJS.ErrnoException).code === undefined && found.cause !== undefined)
    found = found.cause;
  if (found instanceof AggregateError) found = found.errors[0]; // one error for each address of the host
  return found instanceof Error ? ((found as NodeJS.ErrnoException).code ?? found.message) : String(found);
}

/** What to check, listed in words. Behind a proxy, the host that cannot be found may be the proxy itself. */
function places(...more: readonly string[]): string {
  const proxy = proxyVariable();
  const all = ['the network', ...(proxy === undefined ? [] : [`the proxy (${proxy})`]), ...more];
  return new Intl.ListFormat('en-US').format(all);
}

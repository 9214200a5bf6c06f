/**
 * fetch() through the proxy that the environment names: HTTPS_PROXY and HTTP_PROXY, but for the hosts in NO_PROXY, each
 * in small letters, too. Node's own fetch() reads no such variable before Node 22.21, so this one is undici's, with its
 * EnvHttpProxyAgent. It is loaded only where a proxy is named.
 */
import type { EnvHttpProxyAgent, fetch as undiciFetch } from 'undici';

import { HubError, quoted } from '../errors';

type Undici = { fetch: typeof undiciFetch; EnvHttpProxyAgent: typeof EnvHttpProxyAgent };

/** The first of the names that is set, and its value. A name in small letters comes first, as in curl and Python. */
function setVariable(...names: readonly string[]): { name: string; value: string } | undefined {
  const name = names.find((candidate) => process.env[candidate]);
  return name === undefined ? undefined : { name, value: process.env[name]! };
}

/** The variables that name a proxy: that for https, which the hub has, first. */
const proxies = () => ({
  https: setVariable('https_proxy', 'HTTPS_PROXY'),
  http: setVariable('http_proxy', 'HTTP_PROXY'),
});

/** The name of the variable that says which proxy there is, for messages. */
export function proxyVariable(): string | undefined {
  const { https, http } = proxies();
  return (https ?? http)?.name;
}

/**
 * Reads the environment once.
 *
 * @throws HubError if a variable is not the address of a proxy.
 */
export function environmentFetch(): typeof fetch {
  const { https, http } = proxies();
  if (https === undefined && http === undefined) return fetch;
  for (const variable of [https, http]) requireAddress(variable);
  const undici = require('undici') as Undici;
  const dispatcher = new undici.EnvHttpProxyAgent({
    ...(https && { httpsProxy: https.value }),
    ...(http && { httpProxy: http.value }),
    proxyTunnel: false, // a tunnel for https alone: a proxy may allow one to port 443 only
  });
  return ((url: URL, options: object) => undici.fetch(url, { ...options, dispatcher })) as unknown as typeof fetch;
}

function requireAddress(variable: ReturnType<typeof setVariable>): void {
  if (variable === undefined || (/^https?:\/\/[^/]/.test(variable.value) && URL.canParse(variable.value))) return;
  throw new HubError(`${variable.name} must be an address such as http://proxy:3128, not ${quoted(variable.value)}`);
}

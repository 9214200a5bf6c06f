/**
 * A fetch() that uses the proxy named by HTTPS_PROXY or HTTP_PROXY, except for the hosts in NO_PROXY; the names may
 * also be in lower case. Before 22.21, Node's own fetch() ignores these variables, so undici's fetch() is used, with
 * EnvHttpProxyAgent. undici is loaded only if a proxy is set.
 */
import type { EnvHttpProxyAgent, fetch as undiciFetch } from 'undici';

import { HubError, quoted } from '../errors';

type Undici = { fetch: typeof undiciFetch; EnvHttpProxyAgent: typeof EnvHttpProxyAgent };

/** The first of these variables that is set. Lower case takes precedence, as in curl and Python. */
function setVariable(...names: readonly string[]): { name: string; value: string } | undefined {
  const name = names.find((candidate) => process.env[candidate]);
  return name === undefined ? undefined : { name, value: process.env[name]! };
}

/** The variables that name a proxy, one per protocol. The hub uses https. */
const proxies = () => ({
  https: setVariable('https_proxy', 'HTTPS_PROXY'),
  http: setVariable('http_proxy', 'HTTP_PROXY'),
});

/** The name of the variable that names the proxy, for messages. */
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
    proxyTunnel: false, // tunnel only https: a proxy may allow tunnels to port 443 only
  });
  return ((url: URL, options: object) => undici.fetch(url, { ...options, dispatcher })) as unknown as typeof fetch;
}

function requireAddress(variable: ReturnType<typeof setVariable>): void {
  if (variable === undefined || (/^https?:\/\/[^/]/.test(variable.value) && URL.canParse(variable.value))) return;
  throw new HubError(`${variable.name} must be an address such as http://proxy:3128, not ${quoted(variable.value)}`);
}

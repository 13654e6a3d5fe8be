import { AttuneError, isPlainObject } from '@attune/core/util';

/** What requests are sent with. */
export interface Endpoint {
  readonly url: URL;
  /** Without query: what messages and fingerprints say. */
  readonly address: string;
  readonly headers: Headers;
  /** The text without what must not be seen. */
  hideSecrets(text: string): string;
}

/** Where requests go, as options say it. */
export interface EndpointOptions {
  readonly baseUrl: string;
  readonly apiKey?: string | undefined;
  readonly apiKeyEnv?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

type Bad = (found: string, remedy: string) => AttuneError;

/**
 * @param path that is added where the address lacks it: "/chat/completions"
 * @param where whose options they are, for messages: "openaiProvider"
 * @throws INVALID_OPTION; no message shows a key
 */
export function endpointOf(options: EndpointOptions, path: string, where: string): Endpoint {
  const { baseUrl, apiKey, apiKeyEnv, headers = {} } = options;
  const bad: Bad = (found, remedy) =>
    new AttuneError('INVALID_OPTION', `${where}: ${found}.`, { remedy });
  const url = urlOf(baseUrl, path, bad);
  const key = keyOf(apiKey, apiKeyEnv, bad);
  const all = new Headers({ 'content-type': 'application/json', accept: 'application/json' });
  if (key !== null) all.set('authorization', `Bearer ${key}`);
  if (!isPlainObject(headers))
    throw bad('headers is no object of texts', 'Pass headers: { name: value }.');
  for (const [name, value] of Object.entries(headers))
    try {
      if (typeof value !== 'string') throw new TypeError();
      all.set(name, value);
    } catch {
      // The reason would quote the value.
      throw bad(
        `the header ${JSON.stringify(name)} has a name or a value that HTTP does not allow`,
        'A value is one line of text.',
      );
    }
  const secrets = [key, ...Object.values(headers), ...url.searchParams.values()]
    .filter((secret): secret is string => secret !== null && secret.length >= 4)
    // As an address has it, and as JSON.
    .flatMap((secret) => [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)])
    .sort((a, b) => b.length - a.length);
  return {
    url,
    address: url.origin + url.pathname,
    headers: all,
    hideSecrets: (text) => secrets.reduce((left, secret) => left.replaceAll(secret, '***'), text),
  };
}

function urlOf(baseUrl: string, path: string, bad: Bad): URL {
  const remedy = 'Pass where its paths begin, as "http://localhost:8000/v1".';
  let url: URL;
  try {
    url = new URL(baseUrl);
  } catch {
    throw bad(`baseUrl is no address of http: "${baseUrl.slice(0, 80)}"`, remedy);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw bad(`baseUrl begins with "${url.protocol}"; expected http: or https:`, remedy);
  if (url.username !== '' || url.password !== '')
    throw bad(
      'baseUrl has a name or a password in it, which fetch refuses',
      'Take them out, and pass headers: { authorization: "Basic ..." }.',
    );
  url.hash = '';
  const base = url.pathname.replace(/\/+$/, '');
  url.pathname = base.endsWith(path) ? base : base + path;
  return url;
}

/** The key is checked by hand: what checks options shows the value that is wrong. */
function keyOf(apiKey: unknown, apiKeyEnv: string | undefined, bad: Bad): string | null {
  if (apiKey !== undefined && apiKeyEnv !== undefined)
    throw bad('apiKey and apiKeyEnv are both given', 'Leave one of them out.');
  if (apiKeyEnv !== undefined && process.env[apiKeyEnv] === undefined)
    throw bad(`the environment has no variable ${apiKeyEnv}`, 'Set it, or correct apiKeyEnv.');
  const key = apiKeyEnv === undefined ? apiKey : process.env[apiKeyEnv]!.trim();
  if (key === undefined) return null;
  if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key))
    throw bad(
      'the API key is no text of visible ASCII characters (it is not shown here)',
      'Pass it as it was issued, without spaces and line ends.',
    );
  return key;
}

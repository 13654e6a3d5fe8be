import type { PiiFinding } from './piiKinds.js';

/** Keys whose makers gave them a shape of their own. */
const KEYS: readonly (readonly [what: string, shape: RegExp])[] = [
  ['AWS', /(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])/g],
  [
    'AWS',
    /(?<=aws_?secret_?(?:access_?)?key["']?\s{0,3}[:=]\s{0,3}["']?)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])/gi,
  ],
  ['GitHub', /(?<![\w-])gh[pousr]_[A-Za-z0-9]{36,251}(?![\w-])/g],
  ['GitHub', /(?<![\w-])github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}(?![\w-])/g],
  ['GitLab', /(?<![\w-])glpat-[\w-]{20,64}(?![\w-])/g],
  ['Anthropic', /(?<![\w-])sk-ant-[\w-]{20,200}(?![\w-])/g],
  ['OpenAI', /(?<![\w-])sk-(?:(?:proj|svcacct|admin)-[\w-]{20,200}|[A-Za-z0-9]{20,64})(?![\w-])/g],
  ['Slack', /(?<![\w-])xox[abeoprs]-[A-Za-z0-9-]{10,200}(?![\w-])/g],
  ['Slack', /hooks\.slack\.com\/services\/T[A-Z0-9]{8,12}\/B[A-Z0-9]{8,12}\/[A-Za-z0-9]{20,32}/g],
  ['Google', /(?<![\w-])AIza[\w-]{35}(?![\w-])/g],
  ['Stripe', /(?<![\w-])[sr]k_live_[A-Za-z0-9]{16,128}(?![\w-])/g],
  ['Hugging Face', /(?<![\w-])hf_[A-Za-z0-9]{34,40}(?![\w-])/g],
  ['npm', /(?<![\w-])npm_[A-Za-z0-9]{36}(?![\w-])/g],
  ['SendGrid', /(?<![\w-])SG\.[\w-]{22}\.[\w-]{43}(?![\w-])/g],
  ['JSON Web Token', /(?<![\w-])eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{20,1000}(?![\w-])/g],
];

/** What one of them begins with, or has before it: a single pass ends the search in most texts. */
const HINT =
  /A(?:KIA|SIA|BIA|CCA)|gh[pousr]_|github_pat_|glpat-|(?<![\w-])sk-|xox[abeoprs]-|hooks\.slack|AIza|_live_|hf_|npm_|SG\.|eyJ|[Aa][Ww][Ss]_?[Ss][Ee][Cc]|-----BEGIN/;

const BLOCK_BEGIN =
  /-----BEGIN (?:RSA |DSA |EC |OPENSSH |ENCRYPTED |PGP )?PRIVATE KEY(?: BLOCK)?-----/g;

const BASE64 = /[A-Za-z0-9+/=\s\\]*/y;

/** Keys of services by their prefixes, and blocks of private keys. */
export function* findSecrets(text: string): Generator<PiiFinding> {
  if (!HINT.test(text)) return;
  for (const [what, shape] of KEYS)
    for (const { 0: found, index } of text.matchAll(shape))
      yield {
        kind: 'api-key',
        what,
        start: index,
        end: index + found.length,
        isReserved: isMadeUp(found),
      };
  if (text.includes('-----BEGIN')) yield* findKeyBlocks(text);
}

function* findKeyBlocks(text: string): Generator<PiiFinding> {
  // Begins that have no end: the text is searched for it once.
  const endless = new Set<string>();
  for (const { 0: begin, index } of text.matchAll(BLOCK_BEGIN)) {
    const last = begin.replace('BEGIN', 'END');
    const at = endless.has(begin) ? -1 : text.indexOf(last, index);
    if (at < 0) endless.add(begin);
    const from = index + begin.length;
    BASE64.lastIndex = from;
    BASE64.test(text);
    const body = text.slice(from, at < 0 ? BASE64.lastIndex : at);
    // The line alone is spoken of: grep "BEGIN PRIVATE KEY".
    const isKey = /[A-Za-z0-9+/]{40}/.test(body.slice(0, 2000));
    const end = at < 0 ? from + (isKey ? body.length : 0) : at + last.length;
    yield { kind: 'api-key', what: 'private key', start: index, end, isReserved: !isKey };
  }
}

/** "sk-xxxxxxxxxxxx", "AKIAIOSFODNN7EXAMPLE": keys of documents, which open nothing. */
function isMadeUp(key: string): boolean {
  const body = key.slice(key.search(/[-_.]/) + 1).slice(-32);
  return /example|xxxx|your|1234567890|abcdefghij/i.test(key) || new Set(body).size < 8;
}

import type { PiiFinding } from './piiKinds.js';

const LOCAL = /[A-Za-z0-9._%+'-]/;
const DOMAIN = /[\p{Script=Latin}0-9.-]/u;

/** Domains that RFC 2606 and RFC 6761 keep for examples. */
const RESERVED_DOMAIN =
  /(?:^|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local|(?:(?:your|my|some|sample|example|test|other)-?)?(?:domain|email|mail|company|host|server|site|example|some)\.(?:com|org|net))$/i;

/** Mailboxes of machines and of roles. */
const RESERVED_LOCAL =
  /^(?:git|no-?reply|do-?not-?reply|root|postmaster|webmaster|hostmaster|abuse|user|username|you|your\.?name|name|someone|me|foo|bar|test|example)$/i;

/** Addresses of mail: the local part up to 64, the domain up to 253 characters (RFC 5321). */
export function* findEmails(text: string): Generator<PiiFinding> {
  let at = text.indexOf('@');
  let done = 0;
  for (; at >= 0; at = text.indexOf('@', at + 1)) {
    let start = at;
    while (start > done && at - start < 64 && LOCAL.test(text[start - 1]!)) start--;
    while (start < at && /[.'%-]/.test(text[start]!)) start++;
    if (start === at) continue;
    let end = at + 1;
    while (end < text.length && end - at < 254 && DOMAIN.test(text[end]!)) end++;
    while (end > at && /[.-]/.test(text[end - 1]!)) end--;
    const domain = text.slice(at + 1, end);
    if (!domain.includes('.')) continue;
    const local = text.slice(start, at);
    if (local.endsWith('.') || !isDomain(domain)) continue;
    // user:password@host, and paths in a scheme: ssh://git@github.com/...
    const isInAddress =
      /[/:]/.test(text[start - 1] ?? '') &&
      !/mailto:$/i.test(text.slice(Math.max(0, start - 7), start));
    const isRemotePath = text[end] === ':' && /[\w/~]/.test(text[end + 1] ?? '');
    const isReserved =
      RESERVED_DOMAIN.test(domain) || RESERVED_LOCAL.test(local) || isInAddress || isRemotePath;
    yield { kind: 'email', start, end, isReserved };
    done = end;
  }
}

const isDomain = (domain: string): boolean =>
  !domain.includes('..') &&
  !/^\d+\.\d+\./.test(domain) &&
  /^[\p{Script=Latin}0-9][\p{Script=Latin}0-9.-]*\.[A-Za-z]{2,24}$/u.test(domain);

const OCTETS = /(?<![\w.:-]|(?<!\/)\/)(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)/g;
/** What is numbered as an address is: versions, sections. */
const NUMBERED =
  /(?:\b(?:version|release|build|section|chapter|clause|figure|fig\.|table|rule|ver\.?|v)|[=<>~^]=)\s?$/i;
const HEX_GROUPS = /(?<![\w:.-])[0-9A-Fa-f:]{2,39}(?![\w:])/g;
const MAC = /(?<![\w:.-])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])/g;

/** IPv4 and IPv6 addresses; those of no one machine in the internet are reserved. */
export function* findIpAddresses(text: string): Generator<PiiFinding> {
  if (text.includes('.'))
    for (const { 0: found, index } of text.matchAll(OCTETS)) {
      const octets = found.split('.');
      if (octets.some((octet) => Number(octet) > 255 || (octet.length > 1 && octet[0] === '0')))
        continue;
      if (NUMBERED.test(text.slice(Math.max(0, index - 10), index))) continue;
      yield {
        kind: 'ip-address',
        start: index,
        end: index + found.length,
        isReserved: isReservedV4(octets.map(Number)),
      };
    }
  if (text.includes(':'))
    for (const { 0: found, index } of text.matchAll(HEX_GROUPS))
      if (isV6(found))
        yield {
          kind: 'ip-address',
          start: index,
          end: index + found.length,
          isReserved: /^(?:::1?$|fe[89ab]|f[cd]|ff|2001:0?db8)/i.test(found),
        };
}

/** RFC 6890: private, loopback, link-local, documentation, multicast; and public name servers. */
function isReservedV4([a, b, c, d]: readonly number[]): boolean {
  if (a === 0 || a === 10 || a === 127 || a! >= 224) return true;
  if ((a === 192 && b === 168) || (a === 172 && b! >= 16 && b! < 32)) return true;
  if ((a === 169 && b === 254) || (a === 100 && b! >= 64 && b! < 128)) return true;
  if ((a === 192 && b === 0 && (c === 2 || c === 0)) || (a === 198 && b! >= 18 && b! < 20))
    return true;
  if ((a === 198 && b === 51 && c === 100) || (a === 203 && b === 0 && c === 113)) return true;
  return a === b && (b === c || (c === 0 && d === 1));
}

/** RFC 4291: eight groups of up to four digits; "::" once for groups of zero. */
function isV6(text: string): boolean {
  const gap = text.indexOf('::');
  if (gap !== text.lastIndexOf('::') || /:::/.test(text)) return false;
  const groups = text.split(':').filter((group) => group !== '');
  if (groups.some((group) => group.length > 4)) return false;
  if (gap < 0) return groups.length === 8 && !text.startsWith(':') && !text.endsWith(':');
  // "::" alone, and "std::abs", are of programs.
  return groups.length >= 2 && groups.length <= 7 && /\d/.test(text) ? true : text === '::1';
}

/** Hardware addresses: six pairs of one separator. Broadcast and zero are reserved. */
export function* findMacAddresses(text: string): Generator<PiiFinding> {
  if (!text.includes(':') && !text.includes('-')) return;
  for (const { 0: found, index } of text.matchAll(MAC)) {
    const hex = found.replace(/[:-]/g, '').toLowerCase();
    const isReserved =
      new Set(hex).size === 1 ||
      hex === '001122334455' ||
      hex === 'aabbccddeeff' ||
      hex === '123456789abc';
    yield { kind: 'mac-address', start: index, end: index + found.length, isReserved };
  }
}

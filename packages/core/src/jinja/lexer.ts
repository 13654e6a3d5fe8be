import { JinjaError } from './errors.js';
import { SPACE, strip } from './text.js';

export type TokenType =
  | 'data'
  | 'blockBegin'
  | 'blockEnd'
  | 'variableBegin'
  | 'variableEnd'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | 'end';

/** A name of a service, with the type of what it stands for. */
export interface Token {
  readonly type: TokenType;
  /** A string's escapes are read, an operator is itself. */
  readonly value: string;
  readonly line: number;
}

const s = SPACE;
const opening = new RegExp(
  `\\{%[-+]?${s}*raw${s}*(?:-%\\}${s}*|%\\})|\\{%[-+]?|\\{\\{[-+]?|\\{#[-+]?`,
  'g',
);
const rawEnd = new RegExp(`\\{%([-+]?)${s}*endraw${s}*(?:\\+%\\}|-%\\}${s}*|%\\}\\n?)`, 'g');
const commentEnd = new RegExp(`\\+#\\}|-#\\}${s}*|#\\}\\n?`, 'g');
const blockEnd = new RegExp(`\\+%\\}|-%\\}${s}*|%\\}\\n?`, 'y');
const variableEnd = new RegExp(`-\\}\\}${s}*|\\}\\}`, 'y');
const lineStart = new RegExp(`^${s}*$`);
const digits = '(?:\\d+_)*\\d+';
/** One token, or white space: the group that matched says what. */
const token = new RegExp(
  [
    `(?<space>${s}+)`,
    `(?<float>(?<!\\.)${digits}(?:(?:\\.${digits})?[eE][+-]?${digits}|\\.${digits}))`,
    '(?<integer>0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\\da-fA-F])+|[1-9](?:_?\\d)*|0(?:_?0)*)',
    '(?<name>[\\p{L}\\p{M}\\p{N}_]+)',
    `(?<string>'(?:[^'\\\\]|\\\\[\\s\\S])*'|"(?:[^"\\\\]|\\\\[\\s\\S])*")`,
    '(?<operator>\\/\\/|\\*\\*|==|!=|>=|<=|[\\-+\\/*%~\\[\\]\\(\\)\\{\\}><=.:\\|,;])',
  ].join('|'),
  'uy',
);
const kinds = ['float', 'integer', 'name', 'string', 'operator'] as const;
const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/**
 * Reads a template into tokens, with `trim_blocks` and `lstrip_blocks` on, as transformers sets
 * them.
 *
 * @throws JinjaError TemplateSyntaxError with its line
 */
export function tokenize(template: string): Token[] {
  const source = template.replace(/\r\n?/g, '\n').replace(/\n$/, '');
  const out: Token[] = [];
  let at = 0;
  let line = 1;
  /**
   * Whether what was read last ended a line: what is white space before a tag there is left out.
   */
  let startsLine = true;

  const fail = (message: string): never => {
    const error = new JinjaError('TemplateSyntaxError', message);
    error.line = line;
    throw error;
  };
  const matchAt = (pattern: RegExp, from = at): string | null => {
    pattern.lastIndex = from;
    return pattern.exec(source)?.[0] ?? null;
  };
  const advance = (text: string) => {
    at += text.length;
    for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) line++;
    if (text !== '') startsLine = text.endsWith('\n');
  };
  /** The text before a tag, without the white space that the tag takes away. */
  const addText = (text: string, sign: string, isVariable: boolean) => {
    let kept = text;
    if (sign === '-') kept = strip(text, null, false, true);
    else if (sign !== '+' && !isVariable) {
      const begin = text.lastIndexOf('\n') + 1;
      if ((begin > 0 || startsLine) && lineStart.test(text.slice(begin)))
        kept = text.slice(0, begin);
    }
    if (kept !== '') out.push({ type: 'data', value: kept, line });
    advance(text);
  };
  const find = (pattern: RegExp, missing: string): RegExpExecArray => {
    pattern.lastIndex = at;
    return pattern.exec(source) ?? fail(missing);
  };

  const readInside = (end: RegExp, endType: TokenType) => {
    const open: string[] = [];
    for (;;) {
      const close = open.length === 0 ? matchAt(end) : null;
      if (close !== null) {
        out.push({ type: endType, value: close, line });
        return advance(close);
      }
      if (at >= source.length) fail('unexpected end of template');
      token.lastIndex = at;
      const { groups } = token.exec(source) ?? {};
      if (!groups) return fail(`unexpected character ${JSON.stringify(source[at])}`);
      if (groups.space !== undefined) {
        advance(groups.space);
        continue;
      }
      const type = kinds.find((kind) => groups[kind] !== undefined)!;
      const text = groups[type]!;
      if (type === 'operator') {
        if (text in closing) open.push(closing[text]!);
        else if (/[)\]}]/.test(text) && open.pop() !== text) fail(`unexpected '${text}'`);
      }
      if (type === 'name' && /^\p{N}/u.test(text)) fail(`"${text}" is no name`);
      const value = type === 'string' ? readEscapes(text.slice(1, -1), fail) : text;
      out.push({ type, value, line });
      advance(text);
    }
  };

  while (at < source.length) {
    opening.lastIndex = at;
    const tag = opening.exec(source);
    if (!tag) {
      out.push({ type: 'data', value: source.slice(at), line });
      break;
    }
    const [begin] = tag;
    const sign = /^\{.([-+]?)/.exec(begin)![1]!;
    addText(source.slice(at, tag.index), sign, begin.startsWith('{{'));
    const tagLine = line;
    advance(begin);
    if (begin.startsWith('{#')) {
      const end = find(commentEnd, 'a comment does not end');
      advance(source.slice(at, end.index + end[0].length));
    } else if (begin.startsWith('{{')) {
      out.push({ type: 'variableBegin', value: begin, line: tagLine });
      readInside(variableEnd, 'variableEnd');
    } else if (begin.length <= 3) {
      out.push({ type: 'blockBegin', value: begin, line: tagLine });
      readInside(blockEnd, 'blockEnd');
    } else {
      const end = find(rawEnd, 'a raw block does not end');
      addText(source.slice(at, end.index), end[1]!, false);
      advance(end[0]);
    }
  }
  out.push({ type: 'end', value: '', line });
  return out;
}

const simpleEscapes: Readonly<Record<string, string>> = {
  ...{ '\n': '', '\\': '\\', "'": "'", '"': '"', a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r' },
  ...{ t: '\t', v: '\v' },
};

/** Python's escapes in a text; one that means nothing stays as it is. */
function readEscapes(text: string, fail: (message: string) => never): string {
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([\s\S]))/g,
    (all, x?: string, u?: string, long?: string, octal?: string, other?: string) => {
      const hex = x ?? u ?? long;
      if (hex !== undefined) {
        const code = Number.parseInt(hex, 16);
        return code > 0x10ffff ? fail(`there is no character ${all}`) : String.fromCodePoint(code);
      }
      if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
      if (/[xuUN]/.test(other!)) fail(`a text with a bad escape, ${all}`);
      return simpleEscapes[other!] ?? all;
    },
  );
}

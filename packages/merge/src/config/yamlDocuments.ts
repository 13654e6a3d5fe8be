import { Composer, CST, type Document, Lexer, type LineCounter, Parser } from 'yaml';

/** Throws what is wrong with a file, with line and column. */
export type Fail = (offset: number, message: string, remedy: string) => never;

// What PyYAML reads. The rest of the controls is a sign of a file that is no text.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNPRINTABLE = /[^\x09\x0A\x0D\x20-\x7E\x85\xA0-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;

const HINTS: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'Indent with spaces.',
  BAD_ALIAS: 'Put a value that begins with * in quotes: "*".',
  BAD_SCALAR_START: 'Put the value in quotes.',
  BLOCK_AS_IMPLICIT_KEY: 'Indent keys of one mapping alike, and put values with ": " in quotes.',
};

/** Some 40,000 values, which take a second. A config with a setting for each token has fewer. */
const MAX_LEXEMES = 200_000;

export const TOO_DEEP = 'values are nested too deeply';

/** The documents of a text, which have no faults of syntax. */
export function parseDocuments(
  text: string,
  counter: LineCounter,
  fail: Fail,
): readonly Document.Parsed[] {
  const documents = parse(text, counter, fail);
  const control = UNPRINTABLE.exec(text);
  if (control)
    fail(
      control.index,
      `the character ${codePoint(control[0])} is in no text`,
      'Give a text file in UTF-8.',
    );
  for (const { errors } of documents) {
    const deep = errors.find(({ message }) => message.includes('call stack'));
    if (deep) fail(deep.pos[0], TOO_DEEP, 'Give a merge config.');
    const open = errors.find(({ message }) => /^Flow .* end with a/.test(message));
    if (open) fail(open.pos[0], 'a bracket is not closed', 'Close it with ] or }.');
    const [first] = errors;
    if (first)
      fail(first.pos[0], lowerFirst(first.message), HINTS[first.code] ?? 'Mend the YAML there.');
  }
  refuseTabs(text, fail);
  return documents;
}

function parse(text: string, counter: LineCounter, fail: Fail): readonly Document.Parsed[] {
  // Scalars stay as they are written: what they are is decided as PyYAML does.
  const options = { schema: 'failsafe', version: '1.1', merge: false, uniqueKeys: false } as const;
  const composer = new Composer({ ...options, prettyErrors: false, logLevel: 'silent' });
  try {
    return [...composer.compose(tokensOf(text, counter, fail))];
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return fail(0, TOO_DEEP, 'Give a merge config.');
  }
}

function* tokensOf(text: string, counter: LineCounter, fail: Fail): Generator<CST.Token> {
  const parser = new Parser(counter.addNewLine);
  counter.addNewLine(0);
  let count = 0;
  for (const lexeme of new BracketLexer().lex(text)) {
    if (++count > MAX_LEXEMES)
      fail(0, `there are more than ${MAX_LEXEMES} words and signs`, 'Give a merge config.');
    yield* parser.next(lexeme);
  }
  yield* parser.end();
}

/**
 * PyYAML asks for no indentation within brackets. The lexer of `yaml` ends them at a line that is
 * indented less than `indentNext`.
 */
class BracketLexer extends Lexer {
  constructor() {
    super();
    const lexer = this as unknown as { flowLevel: number };
    let indent = 0;
    Object.defineProperty(this, 'indentNext', {
      get: () => (lexer.flowLevel > 0 ? 0 : indent),
      set: (value: number) => {
        indent = value;
      },
    });
  }
}

/** PyYAML takes no tabs beside quoted text, block text and comments. */
function refuseTabs(text: string, fail: Fail): void {
  if (!text.includes('\t')) return;
  let offset = 0;
  let [isScalar, isBlock] = [false, false];
  for (const source of new BracketLexer().lex(text)) {
    const type = CST.tokenType(source);
    if (type === 'scalar') isScalar = true;
    if (CONTROLS.has(type)) continue;
    if (type === 'block-scalar-header') isBlock = true;
    const mayHave = isScalar ? isBlock : type?.includes('quoted') || type === 'comment';
    const tab = source.indexOf('\t');
    if (tab >= 0 && !mayHave) fail(offset + tab, 'a tab stands outside of quotes', 'Use spaces.');
    if (isScalar) [isScalar, isBlock] = [false, false];
    offset += source.length;
  }
}

/** Tokens that are not in the text. */
const CONTROLS: ReadonlySet<unknown> = new Set(['doc-mode', 'flow-error-end', 'scalar']);

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

const codePoint = (character: string): string =>
  `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;

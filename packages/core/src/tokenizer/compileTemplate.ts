import { Template } from '@huggingface/jinja';

/**
 * Reads a Jinja template. Where it strips certain characters, as in `content.lstrip('\n')`, the call goes
 * to {@link templateFunctions}: @huggingface/jinja strips all white space whatever it is asked for, and
 * would take the indentation of code away.
 */
export function compileTemplate(source: string): Template {
  const template = new Template(source.replace(/\r\n?/g, '\n')); // as Jinja reads it
  redirectStrip(template.parsed);
  return template;
}

type Node = Record<string, unknown>;

/** text.lstrip(chars) -> strip_characters(text, 'lstrip', chars), anywhere in a syntax tree. */
function redirectStrip(part: unknown): void {
  if (typeof part !== 'object' || part === null) return;
  const node = part as Node;
  const { type, callee, args } = node as { type?: unknown; callee?: Node; args?: unknown[] };
  if (type === 'CallExpression' && callee?.type === 'MemberExpression' && args?.length === 1) {
    const method = (callee.property as Node).value;
    if (callee.computed === false && typeof method === 'string' && method in sides) {
      node.callee = { type: 'Identifier', value: 'strip_characters' };
      node.args = [callee.object, { type: 'StringLiteral', value: method }, args[0]];
    }
  }
  for (const child of part instanceof Map ? part.values() : Object.values(node))
    redirectStrip(child);
}

/** Which ends of a text Python's methods take characters from: [start, end]. */
const sides: Readonly<Record<string, readonly [boolean, boolean]>> = {
  strip: [true, true],
  lstrip: [true, false],
  rstrip: [false, true],
};

/** What a compiled template calls beside its own variables. */
export const templateFunctions = {
  /** Python's `str.strip(chars)`; without characters, white space. */
  strip_characters(text: string, method: string, characters: string | null): string {
    const [atStart, atEnd] = sides[method]!;
    const isStripped =
      characters === null
        ? (letter: string) => letter.trim() === ''
        : (letter: string) => characters.includes(letter);
    const letters = [...text];
    let [start, end] = [0, letters.length];
    if (atStart) while (start < end && isStripped(letters[start]!)) start++;
    if (atEnd) while (end > start && isStripped(letters[end - 1]!)) end--;
    return letters.slice(start, end).join('');
  },
};

import { AttuneError } from '../../util/errors.js';
import { type Fields, isCount, show } from './fields.js';

/** One token of an encoded text. */
export interface Token {
  readonly id: number;
  /** [begin, end) of the text in UTF-16 units; nothing for tokens that were added. */
  readonly begin: number;
  readonly end: number;
}

/**
 * Puts tokens around a text. Each step takes lists of tokens: the text, and what earlier steps put
 * beside it.
 */
export type PostProcessor = (parts: Token[][], addSpecialTokens: boolean) => Token[][];

const added = (id: number): Token => ({ id, begin: 0, end: 0 });

/** @throws TOKENIZER_INVALID */
export function readPostProcessor(fields: Fields): PostProcessor {
  switch (fields.string('type')) {
    case 'Sequence': {
      const steps = fields.objects('processors').map(readPostProcessor);
      return (parts, special) => steps.reduce((p, step) => step(p, special), parts);
    }
    case 'ByteLevel':
      return (parts) => parts;
    case 'TemplateProcessing':
      return template(fields);
    case 'BertProcessing':
      return around(fields, false);
    case 'RobertaProcessing':
      return around(fields, true);
    default:
      throw fields.unknown();
  }
}

function around(fields: Fields, twice: boolean): PostProcessor {
  const first = added(pairOf(fields, 'cls'));
  const last = added(pairOf(fields, 'sep'));
  return (parts, special) =>
    special
      ? parts.map((tokens, i) =>
          i === 0 ? [first, ...tokens, last] : [...(twice ? [last] : []), ...tokens, last],
        )
      : parts;
}

/** The id of a ["token", id]. */
function pairOf(fields: Fields, key: string): number {
  const value = fields.raw(key);
  if (Array.isArray(value) && value.length === 2) {
    const [token, id] = value as unknown[];
    if (typeof token === 'string' && isCount(id)) return id;
  }
  throw fields.wrong(key, 'a token and its id');
}

/** A piece of a template: which part of the input, or the ids of a special token. */
type Slot = { readonly part: 0 | 1 } | { readonly ids: readonly number[] };

function template(fields: Fields): PostProcessor {
  const special = readSpecial(fields);
  const single = readTemplate(fields, 'single', special);
  const pair = readTemplate(fields, 'pair', special);
  if (single.some((slot) => 'part' in slot && slot.part === 1))
    throw fields.error(`${fields.path}.single asks for a second text`);
  return (parts, addSpecialTokens) => {
    const slots = parts.length === 1 ? single : parts.length === 2 ? pair : null;
    if (!slots)
      throw new AttuneError(
        'TOKENIZER_INVALID',
        `${fields.file}: ${fields.path} stands behind another template that made ${parts.length} parts; a template takes one or two.`,
        { remedy: 'Make one TemplateProcessing of both.' },
      );
    return slots.flatMap((slot) => {
      if ('part' in slot) return [parts[slot.part]!];
      return addSpecialTokens ? [slot.ids.map(added)] : [];
    });
  };
}

function readSpecial(fields: Fields): ReadonlyMap<string, readonly number[]> {
  const all = fields.object('special_tokens');
  const special = new Map<string, readonly number[]>();
  for (const name of Object.keys(fields.raw('special_tokens') as object)) {
    const ids = all.object(name).array('ids');
    if (!ids.every(isCount)) throw all.object(name).wrong('ids', 'a list of ids');
    special.set(name, ids);
  }
  return special;
}

function readTemplate(
  fields: Fields,
  key: string,
  special: ReadonlyMap<string, readonly number[]>,
): Slot[] {
  return fields.objects(key).map((item) => {
    if (item.has('Sequence'))
      return { part: item.object('Sequence').oneOf('id', ['A', 'B']) === 'A' ? 0 : 1 };
    const name = item.object('SpecialToken').string('id');
    const ids = special.get(name);
    if (!ids)
      throw fields.error(`${item.path} names ${show(name)}, which is not among its special_tokens`);
    return { ids };
  });
}

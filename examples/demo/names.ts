import type { Rng } from './rng.js';

/** Which side of the split a row belongs to. */
export type Split = 'train' | 'eval';

/** The identifiers of one function. Templates read them; none is special to one issue class. */
export interface Names {
  /** `invoice`, `Invoice`, `invoices`, `Invoices`. */
  readonly one: string;
  readonly One: string;
  readonly many: string;
  readonly Many: string;
  /** The variable that flows through the function: `one` or `many`. */
  readonly data: string;
  readonly Data: string;
  /** A numeric field, a text field and a value of the text field. */
  readonly amount: string;
  readonly state: string;
  readonly value: string;
  /** A lookup key in both spellings: `ownerId`, `owner_id`. */
  readonly key: string;
  readonly keySnake: string;
  readonly service: string;
  readonly index: string;
  readonly sum: string;
  readonly local: string;
  readonly handle: string;
  readonly failure: string;
}

export interface NamePool {
  readonly entities: readonly string[];
  readonly amounts: readonly string[];
  readonly states: readonly string[];
  readonly values: readonly string[];
}

const words = (text: string): string[] => text.trim().split(/\s+/);

/**
 * The nouns that make a function recognisable. The two pools share no entity, field or value, so
 * that fine-tuning never shows an identifier of an eval row.
 */
export const POOLS: Readonly<Record<Split, NamePool>> = {
  train: {
    entities: words(`
      invoice order user account ticket product session message report event task job payment
      booking member customer project comment article photo video song album player team match
      course lesson student teacher grade exam room hotel flight seat driver car truck route stop
      station sensor device server node cluster backup file folder page link post thread channel
      contact lead deal quote contract license plan coupon refund charge transfer wallet token
      asset item cart shelf vendor supplier shipment pallet printer batch lot
      recipe meal menu table guest visit patient doctor ward sample test study model
      metric alert rule filter query record row column chart widget theme plugin module`),
    amounts: words(`
      amount price weight score size cost points rating hours distance quantity length width
      height age volume balance fee discount margin budget rank level duration speed`),
    states: words('status state kind type role stage mode category color region'),
    values: words(`
      open closed paid active draft done admin ready blocked hidden new old public private
      pending failed red green north south free busy locked valid`),
  },
  eval: {
    entities: words(`
      parcel garden voucher museum ferry tenant camera novel harbor donor bridge ballot orchard
      satellite kitchen mission journal tournament reactor engine blanket rocket puzzle castle
      river planet lantern falcon`),
    amounts: words('mileage surcharge depth voltage salary tariff altitude pressure'),
    states: words('phase season priority shade'),
    values: words('expired urgent frozen archived shipped muted golden silent'),
  },
};

/** Names that both sides share: they carry no meaning of their own, like keywords. */
const KEYS = words('id ownerId userId teamId groupId code name slug email parentId');
const SERVICES = words('api store');
const INDEXES = words('i i i j k index pos');
const SUMS = words('total sum result count acc');
const LOCALS = words('label limit start prefix copy rate extra next temp offset');
const HANDLES = words('file handle stream conn reader socket');
const FAILURES = words('error err e cause');

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);
const snake = (word: string): string =>
  word.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const unlike = (pool: readonly string[], taken: readonly string[]): string[] =>
  pool.filter((word) => !taken.includes(word));

/** English plural, as far as the entities above need it. */
export function plural(word: string): string {
  if (/[^aeiou]y$/.test(word)) return `${word.slice(0, -1)}ies`;
  return /(s|x|ch|sh)$/.test(word) ? `${word}es` : `${word}s`;
}

const ONSETS = words('b br c ch cl d dr f fl g gr h j k l m n p pl qu r s sh sl sp st t tr v w z');
const VOWELS = words('a e i o u ai ea oo ou');
const CODAS = ['', ...words('l m n r s t nd st x')];
const RESERVED = new Set([
  ...[KEYS, SERVICES, INDEXES, SUMS, LOCALS, HANDLES, FAILURES].flat(),
  ...words('case delete raise pass'),
]);

function inventedWord(rng: Rng): string {
  for (;;) {
    const syllables = Array.from(
      { length: 2 + rng.below(2) },
      () => rng.pick(ONSETS) + rng.pick(VOWELS),
    );
    const word = syllables.join('') + rng.pick(CODAS);
    if (!RESERVED.has(word)) return word;
  }
}

/** What pretraining draws from: a language model knows the words, though not the functions. */
export const ALL_NAMES: NamePool = {
  entities: [...POOLS.train.entities, ...POOLS.eval.entities],
  amounts: [...POOLS.train.amounts, ...POOLS.eval.amounts],
  states: [...POOLS.train.states, ...POOLS.eval.states],
  values: [...POOLS.train.values, ...POOLS.eval.values],
};

/**
 * Words that no one uses, for a share of the pretraining corpus: with them a small model must learn
 * to copy a name from where it stands in the code.
 */
export function inventedPool(rng: Rng): NamePool {
  return {
    entities: [inventedWord(rng)],
    amounts: [inventedWord(rng)],
    states: [inventedWord(rng)],
    values: [inventedWord(rng)],
  };
}

/** Draws the identifiers of one function so that no two of them collide. */
export function drawNames(rng: Rng, pool: NamePool, shape: 'one' | 'many'): Names {
  const one = rng.pick(pool.entities);
  const many = plural(one);
  const data = shape === 'one' ? one : many;
  const key = rng.pick(KEYS);
  const amount = rng.pick(unlike(pool.amounts, [one]));
  const state = rng.pick(unlike(pool.states, [one, amount]));
  return {
    one,
    One: capital(one),
    many,
    Many: capital(many),
    data,
    Data: capital(data),
    amount,
    state,
    value: rng.pick(pool.values),
    key,
    keySnake: snake(key),
    service: rng.pick(unlike(SERVICES, [one])),
    index: rng.pick(unlike(INDEXES, [one])),
    sum: rng.pick(unlike(SUMS, [one, amount])),
    local: rng.pick(unlike(LOCALS, [one, amount])),
    handle: rng.pick(unlike(HANDLES, [one])),
    failure: rng.pick(FAILURES),
  };
}

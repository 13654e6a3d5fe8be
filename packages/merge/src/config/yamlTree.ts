import { AttuneError } from '@attune/core';
import { camelToSnake } from '@attune/core/util';
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  Scalar,
  type YAMLMap,
} from 'yaml';
import type { Place } from './mergeConfig.js';
import { type Fail, parseDocuments, TOO_DEEP } from './yamlDocuments.js';
import { resolveScalar, type YamlScalar } from './yamlScalars.js';

/** A value of a file, and where its parts stand. */
export type YamlTree =
  | { readonly kind: 'scalar'; readonly value: YamlScalar; readonly place: Place }
  | { readonly kind: 'list'; readonly items: readonly YamlTree[]; readonly place: Place }
  | {
      readonly kind: 'map';
      readonly entries: ReadonlyMap<string, YamlEntry>;
      readonly place: Place;
    };

export interface YamlEntry {
  /** Where the key stands. */
  readonly place: Place;
  readonly value: YamlTree;
  /** For the root alone: whether something in it is used elsewhere: `&name` and `*name`. */
  readonly isShared: boolean;
}

/** Values of a file, each alias counted as what it stands for. */
const MAX_VALUES = 200_000;
const MAX_DEPTH = 100;
/** A config with a long template and many tokens has a tenth of it. */
export const MAX_LENGTH = 2 ** 20;

/**
 * Reads one document of YAML 1.1 as PyYAML does, with `<<`, anchors and aliases. What PyYAML takes
 * in silence or what a config cannot mean is an error: a key twice, several documents, tags of
 * languages.
 *
 * @throws MERGE_YAML with line and column
 */
export function readYamlTree(text: string, file: string | null): YamlTree {
  const counter = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = counter.linePos(offset);
    return { line, column: col };
  };
  const fail: Fail = (offset, message, remedy) => {
    const { line, column } = placeAt(offset);
    throw new AttuneError('MERGE_YAML', `${file ?? 'config'}:${line}:${column}: ${message}.`, {
      remedy,
      details: { line, column },
    });
  };
  if (text.length > MAX_LENGTH)
    fail(
      0,
      `there are ${text.length} characters, expected at most ${MAX_LENGTH}`,
      'Give a merge config.',
    );
  const documents = parseDocuments(text.replace(/^\uFEFF/, ''), counter, fail);
  const [document, second] = documents;
  if (second)
    fail(
      second.range[0],
      'a second document begins here, expected one config',
      'Leave one of them in the file.',
    );
  const root = document?.contents;
  if (!root || (isScalar(root) && resolveScalar(String(root.value)) === null))
    return fail(0, 'there is nothing in the file', 'Write a config: merge_method, models, ...');
  return new TreeBuilder(placeAt, fail).document(root);
}

/** What a tree comes to when aliases are written out. */
interface Extent {
  readonly values: number;
  readonly depth: number;
}

const ONE: Extent = { values: 1, depth: 1 };
const STANDARD = 'tag:yaml.org,2002:';

class TreeBuilder {
  readonly #anchors = new Map<string, YamlTree | 'open'>();
  readonly #extents = new Map<YamlTree, Extent>();
  readonly #aliased = new Set<YamlTree>();
  #made = 0;

  constructor(
    private readonly placeAt: (offset: number) => Place,
    private readonly fail: Fail,
  ) {}

  /** A whole document: entries of its root know whether they are shared. */
  document(root: Node): YamlTree {
    const tree = this.build(root);
    if (tree.kind !== 'map') return tree;
    const entries = [...tree.entries].map(
      ([name, entry]) => [name, { ...entry, isShared: this.#isAliased(entry.value) }] as const,
    );
    return { ...tree, entries: new Map(entries) };
  }

  build(node: Node): YamlTree {
    const offset = node.range?.[0] ?? 0;
    if (isAlias(node)) return this.#alias(node.source, offset);
    const anchor = 'anchor' in node ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, 'open');
    const [tree, extent] = this.#value(node, offset);
    this.#count(extent.values > MAX_VALUES ? MAX_VALUES : 1, offset);
    if (extent.depth > MAX_DEPTH) this.fail(offset, TOO_DEEP, 'Nest less.');
    this.#extents.set(tree, extent);
    if (anchor !== undefined) this.#anchors.set(anchor, tree);
    return tree;
  }

  /** Counts values while they are made: what is too much ends before it is there. */
  #count(values: number, offset: number): void {
    this.#made += values;
    if (this.#made <= MAX_VALUES) return;
    this.fail(
      offset,
      `there are more than ${MAX_VALUES} values, each alias counted as what it stands for`,
      'Write the values out.',
    );
  }

  #alias(name: string, offset: number): YamlTree {
    const tree = this.#anchors.get(name);
    if (tree === undefined)
      return this.fail(
        offset,
        `there is no anchor &${name} before the alias *${name}`,
        'Put a value that begins with * in quotes, or write the anchor before it.',
      );
    if (tree === 'open')
      return this.fail(offset, `the alias *${name} is inside of its own anchor`, 'Remove it.');
    this.#aliased.add(tree);
    return tree;
  }

  #value(node: Node, offset: number): [YamlTree, Extent] {
    const place = this.placeAt(offset);
    const tag = node.tag?.replace(STANDARD, '');
    if (isScalar(node)) return [{ kind: 'scalar', value: this.#scalar(node, tag), place }, ONE];
    if (tag !== undefined && tag !== (isMap(node) ? 'map' : 'seq'))
      this.fail(offset, `the tag !${tag} has no meaning in a config`, 'Remove it.');
    if (isMap(node)) return this.#map(node, place);
    if (!isSeq(node)) return this.fail(offset, 'this is no value', 'Remove it.');
    const items = node.items.map((item) => this.build(item as Node));
    return [{ kind: 'list', items, place }, this.#sum(items)];
  }

  #map(node: YAMLMap, place: Place): [YamlTree, Extent] {
    const entries = new Map<string, YamlEntry>();
    const merged: YamlTree[] = [];
    const lines = new Map<string, number>();
    for (const pair of node.items) {
      const key = pair.key as Node;
      const offset = key.range![0];
      const keyPlace = this.placeAt(offset);
      const isMerge = isScalar(key) && key.type === Scalar.PLAIN && key.value === '<<';
      const name = isMerge ? '<<' : this.#key(key, offset);
      const earlier = lines.get(name);
      if (earlier !== undefined)
        this.fail(
          offset,
          `"${name}" stands here and in line ${earlier}`,
          'Leave one of them: the other would be lost.',
        );
      lines.set(name, keyPlace.line);
      const value = pair.value
        ? this.build(pair.value as Node)
        : ({ kind: 'scalar', value: null, place: keyPlace } as const);
      if (isMerge) merged.push(...this.#mergeSources(value, offset));
      else entries.set(name, { place: keyPlace, value, isShared: false });
    }
    const inherited = new Map(
      merged.flatMap((source) => (source.kind === 'map' ? [...source.entries] : [])),
    );
    this.#count(inherited.size, node.range?.[0] ?? 0);
    for (const [name, entry] of inherited) if (!entries.has(name)) entries.set(name, entry);
    return [{ kind: 'map', entries, place }, this.#sum([...entries.values()].map((e) => e.value))];
  }

  /** What `<<` takes entries from. The last one counts, as since PyYAML 6.0.4. */
  #mergeSources(value: YamlTree, offset: number): readonly YamlTree[] {
    const sources = value.kind === 'list' ? value.items : [value];
    if (sources.some(({ kind }) => kind !== 'map'))
      this.fail(offset, '"<<" has a value that is no mapping', 'Give it the alias of a mapping.');
    return sources;
  }

  #key(node: Node, offset: number): string {
    const tree = this.build(node);
    const value = tree.kind === 'scalar' ? tree.value : tree.kind;
    if (tree.kind !== 'scalar') this.fail(offset, `a key is a ${tree.kind}`, 'Write a name.');
    if (typeof value !== 'string')
      return this.fail(
        offset,
        `the key is ${value === null ? 'empty' : `the ${typeof value} ${value}`}, expected a name`,
        'Put it in quotes.',
      );
    return value;
  }

  #scalar(node: Scalar, tag: string | undefined): YamlScalar {
    const text = String(node.value ?? '');
    const isPlain = node.type === Scalar.PLAIN || node.type === undefined;
    if (tag === undefined) return isPlain ? resolveScalar(text) : text;
    if (tag === 'str' || tag === '!') return text;
    const value = resolveScalar(text);
    if (tag === 'null') return null;
    if (tag === 'bool' && typeof value === 'boolean') return value;
    if (tag === 'int' && Number.isInteger(value)) return value;
    if (tag === 'float' && text !== '' && !Number.isNaN(Number(text))) return Number(text);
    return this.fail(
      node.range![0],
      `the tag !${tag} has no meaning ${KNOWN_TAGS.has(tag) ? `for ${JSON.stringify(text)}` : 'in a config'}`,
      'Remove it.',
    );
  }

  #sum(parts: readonly YamlTree[]): Extent {
    const extents = parts.map((part) => this.#extents.get(part) ?? ONE);
    return {
      values: extents.reduce((total, { values }) => total + values, 1),
      depth: extents.reduce((most, { depth }) => Math.max(most, depth), 0) + 1,
    };
  }

  /** Whether something in a tree is what an alias stands for. */
  #isAliased(tree: YamlTree): boolean {
    if (this.#aliased.has(tree)) return true;
    if (tree.kind === 'list') return tree.items.some((item) => this.#isAliased(item));
    return tree.kind === 'map' && [...tree.entries.values()].some((e) => this.#isAliased(e.value));
  }
}

const KNOWN_TAGS: ReadonlySet<string> = new Set(['int', 'float', 'bool']);

/** A tree as plain values. */
export function plainValue(tree: YamlTree): unknown {
  if (tree.kind === 'scalar') return tree.value;
  if (tree.kind === 'list') return tree.items.map(plainValue);
  return Object.fromEntries(
    [...tree.entries].map(([name, { value }]) => [name, plainValue(value)]),
  );
}

/**
 * Where a value stands: a key for what has one, else an item of a list; the nearest that is around
 * it where it is not there. Keys are found in either spelling.
 */
export function findPlace(root: YamlTree, path: readonly (string | number)[]): Place {
  let [tree, place] = [root, root.place];
  for (const part of path) {
    if (typeof part === 'number') {
      const item = tree.kind === 'list' ? tree.items[part] : undefined;
      if (!item) return place;
      [tree, place] = [item, item.place];
    } else {
      const entries = tree.kind === 'map' ? tree.entries : undefined;
      const entry = entries?.get(part) ?? entries?.get(camelToSnake(part));
      if (!entry) return place;
      [tree, place] = [entry.value, entry.place];
    }
  }
  return place;
}

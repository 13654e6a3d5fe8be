import { existsSync } from 'node:fs';
import { briefly, isPlainObject } from '@attune/core/util';
import type { ModelReference } from './mergeConfig.js';

/** A model in code: "path@revision+adapter@revision", or its parts. */
export type ModelReferenceInput =
  | string
  | {
      /** A folder or a Hub id, with "@revision" where one is meant. */
      readonly model: ModelPathInput;
      /** An adapter that is merged into it. Default none. */
      readonly lora?: ModelPathInput | null;
    };

/** A folder or a Hub id in code. */
export type ModelPathInput =
  | string
  | {
      readonly path: string;
      /** Branch, tag or commit. Default: the default one. */
      readonly revision?: string | null;
    };

type ModelPath = NonNullable<ModelReference['adapter']>;

/** What is wrong with a reference. */
export class ReferenceFault {
  constructor(
    /** The end of a sentence that begins with the reference. */
    readonly message: string,
    readonly remedy: string,
  ) {}
}

const FORM = 'Write a folder or a Hub id, as path@revision+adapter@revision.';

/**
 * Reads how a config names a model. `@` and `+` in the name of a folder that is there belong to the
 * name. Folders are relative to the working directory.
 */
export function readModelReference(value: unknown): ModelReference | ReferenceFault {
  if (typeof value === 'string') return fromText(value);
  if (!isPlainObject(value))
    return new ReferenceFault(
      `is ${Array.isArray(value) ? 'a list' : `${value === null ? 'empty' : `the ${typeof value} ${String(value)}`}`}, expected the name of a model`,
      typeof value === 'number' || typeof value === 'boolean' ? 'Put it in quotes.' : FORM,
    );
  return fromParts(value);
}

/** All of a reference in one string. */
export const referenceKey = ({ path, revision, adapter }: Omit<ModelReference, 'key'>): string =>
  formatPath({ path, revision }) + (adapter ? `+${formatPath(adapter)}` : '');

const formatPath = ({ path, revision }: ModelPath): string =>
  revision === null ? path : `${path}@${revision}`;

function reference(model: ModelPath, adapter: ModelPath | null): ModelReference {
  const parts = { path: model.path, revision: model.revision, adapter };
  return { ...parts, key: referenceKey(parts) };
}

function fromText(text: string): ModelReference | ReferenceFault {
  if (text === '') return new ReferenceFault('is empty, expected the name of a model', FORM);
  if (existsSync(text)) return reference({ path: text, revision: null }, null);
  const cuts = [...text.matchAll(/\+/g)].map(({ index }) => index);
  if (cuts.length === 0) {
    const model = readPath(text);
    return model instanceof ReferenceFault ? model : reference(model, null);
  }
  if (cuts.length > MAX_CUTS) return severalCuts(cuts.length);
  // One of several may belong to the name of a folder.
  const read = cuts.map((cut) => [text.slice(0, cut), text.slice(cut + 1)].map(readPath));
  const found = read.filter((pair) => pair.every((path) => isPath(path) && existsSync(path.path)));
  const [pair] = found.length > 0 ? found : read;
  if (cuts.length > 1 && found.length !== 1) return severalCuts(cuts.length);
  const [model, adapter] = pair!;
  if (!isPath(model!)) return model!;
  return isPath(adapter!) ? reference(model, adapter) : adapter!;
}

/** Characters of a path in a message. */
const LONGEST = 400;

/** Each is looked at on the disk. */
const MAX_CUTS = 64;

const severalCuts = (count: number): ReferenceFault =>
  new ReferenceFault(
    `has ${count} "+", expected one between a model and its adapter`,
    'Merge several adapters into one first, or write { model: ..., lora: ... }.',
  );

const isPath = (path: ModelPath | ReferenceFault): path is ModelPath =>
  !(path instanceof ReferenceFault);

function readPath(text: string): ModelPath | ReferenceFault {
  if (text === '') return new ReferenceFault('has nothing on one side of "+"', FORM);
  if (existsSync(text)) return { path: text, revision: null };
  const parts = text.split('@');
  if (parts.length === 1) return { path: text, revision: null };
  const cut = text.lastIndexOf('@');
  const [path, revision] = [text.slice(0, cut), text.slice(cut + 1)];
  if (parts.length > 2 && !existsSync(path))
    return new ReferenceFault(`has ${parts.length - 1} "@", expected one before a revision`, FORM);
  if (path === '' || revision === '')
    return new ReferenceFault('has nothing on one side of "@"', FORM);
  return { path, revision };
}

function fromParts(value: Readonly<Record<string, unknown>>): ModelReference | ReferenceFault {
  const override = value.override_architecture ?? value.overrideArchitecture;
  if (override !== undefined && override !== null)
    return new ReferenceFault(
      'has override_architecture, which is not supported: the architecture comes from config.json',
      'Remove it, and set "architectures" in the config.json of that model.',
    );
  const unknown = Object.keys(value).find(
    (key) => !['model', 'lora', 'override_architecture', 'overrideArchitecture'].includes(key),
  );
  if (unknown !== undefined)
    return new ReferenceFault(
      `has "${unknown}", expected { model: { path, revision }, lora: { path, revision } }`,
      FORM,
    );
  const model = pathOf(value.model, 'model');
  if (!isPath(model)) return model;
  if (value.lora === undefined || value.lora === null) return reference(model, null);
  const adapter = pathOf(value.lora, 'lora');
  return isPath(adapter) ? reference(model, adapter) : adapter;
}

function pathOf(value: unknown, key: string): ModelPath | ReferenceFault {
  if (typeof value === 'string' && value !== '') return readPath(value);
  if (isPlainObject(value)) {
    const { path, revision = null, ...rest } = value;
    if (
      typeof path === 'string' &&
      path !== '' &&
      (revision === null || (typeof revision === 'string' && revision !== '')) &&
      Object.keys(rest).length === 0
    )
      return { path, revision };
  }
  return new ReferenceFault(
    `has a ${key} that is ${value === undefined ? 'missing' : briefly(value, LONGEST)}, expected a name or { path, revision }`,
    FORM,
  );
}

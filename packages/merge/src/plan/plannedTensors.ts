import type {
  InputSlice,
  MergeConfig,
  ModelReference,
  OutputModule,
  OutputSlice,
} from '../config/mergeConfig.js';
import type { StoredTensor } from '../contract/tensorTask.js';
import { modulePath } from '../inputs/references.js';
import type { ConfigPath } from '../problems.js';
import { layerName, type MergeableModel, storedName } from './mergeableModel.js';
import { isBeforeLayers, isHead, splitLayer } from './tensorNames.js';

/**
 * Names of tensors that slices leave out: those of layers past the number in config.json, as extra
 * prediction heads are.
 */
export function leftOut(sections: readonly OutputSection[]): readonly string[] {
  if (sections.every(({ slice }) => slice === null)) return [];
  const models = new Set(sections.flatMap(({ sources }) => sources.map(({ model }) => model)));
  return [...models].flatMap((model) =>
    [...model.stored.keys()].filter((name) => {
      const split = splitLayer(name);
      const stack = split && model.stacks.find(({ prefix }) => prefix === split.prefix);
      return stack ? split.layer >= stack.numLayers : false;
    }),
  );
}

/** Where a tensor of the output is set up in the config. */
export interface OutputSection {
  readonly module: OutputModule;
  /** null: whole models are merged. */
  readonly slice: OutputSlice | null;
  /** Where its models are listed. */
  readonly path: ConfigPath;
  readonly base: ModelReference | null;
  readonly sources: readonly SectionSource[];
}

/** A model of a section. */
export interface SectionSource {
  readonly model: MergeableModel;
  /** Where it stands. */
  readonly path: ConfigPath;
  /** Its first layer. */
  readonly begin: number;
}

/** What one model gives to a tensor of the output. */
export interface PlannedInput {
  readonly source: SectionSource;
  /** Under the names of the output, with the number of its own layer. */
  readonly name: string;
  /** null: the model does not have it. */
  readonly tensor: (StoredTensor & { readonly name: string }) | null;
}

/** A tensor of the output, before its parameters. */
export interface PlannedTensor {
  readonly name: string;
  /** The same for every layer: `model.layers.*.mlp.up_proj.weight`. */
  readonly template: string;
  readonly section: OutputSection;
  /** The layer of the output; null: it is in none. */
  readonly layer: number | null;
  /** Position of the layer in its slice, 0 to 1; 0 outside of layers. */
  readonly t: number;
  readonly inputs: readonly PlannedInput[];
}

/** What a config asks for, by sections, in the order of the output. */
export function sectionsOf(
  config: MergeConfig,
  models: ReadonlyMap<string, MergeableModel>,
): OutputSection[] {
  return [...config.modules].flatMap(([name, module]) => {
    const inside = modulePath(config, name);
    const source = (reference: ModelReference, path: ConfigPath, begin = 0): SectionSource => ({
      model: models.get(reference.key)!,
      path,
      begin,
    });
    if ('slices' in module)
      return module.slices.map((slice, i): OutputSection => {
        const path = [...inside, 'slices', i];
        const sources = slice.sources.map(({ model, layerRange }, j) =>
          source(model, [...path, 'sources', j], layerRange[0]),
        );
        return { module, slice, path, base: slice.baseModel ?? config.baseModel, sources };
      });
    const path = [...inside, 'models'];
    const sources = module.models.map(({ model }, i) => source(model, [...path, i]));
    const { baseModel: base } = config;
    if (base && module.models.every(({ model }) => model.key !== base.key))
      sources.push(source(base, ['base_model']));
    return [{ module, slice: null, path, base, sources }];
  });
}

/**
 * The tensors of the output: what comes before the layers from the first section's models, layers
 * in the order of the sections, what comes after them from the last section's.
 */
export function plannedTensors(sections: readonly OutputSection[]): PlannedTensor[] {
  const isWhole = sections.length === 1 && sections[0]!.slice === null;
  if (isWhole) return wholeModels(sections[0]!);
  const outside = (section: OutputSection) =>
    unionOf(section).filter((name) => !inLayers(section, name));
  const first = sections[0]!;
  const last = sections.at(-1)!;
  const planned = outside(first)
    .filter(isBeforeLayers)
    .map((name) => plainTensor(name, first));
  let layer = 0;
  for (const section of sections) {
    const rests = section.sources.map(({ model }) => restsOf(model));
    const length = lengthOf(section.slice!);
    for (let index = 0; index < length; index++, layer++)
      planned.push(...layerTensors(section, rests, { index, length, layer }));
  }
  const after = outside(last).filter((name) => !isBeforeLayers(name));
  const head = headToAdd(first, last, after);
  return [...planned, ...[...after, ...head].map((name) => plainTensor(name, last))];
}

export const lengthOf = ({ sources }: OutputSlice): number => {
  const [begin, end] = (sources[0] as InputSlice).layerRange;
  return end - begin;
};

/** Names that one of the models has at least, in the order of the first one that has them. */
function unionOf({ sources }: OutputSection): string[] {
  return [...new Set(sources.flatMap(({ model }) => [...model.stored.keys()]))];
}

const inLayers = ({ sources }: OutputSection, name: string): boolean =>
  sources.some(({ model }) => {
    const split = splitLayer(name);
    return split !== null && model.stacks.some(({ prefix }) => prefix === split.prefix);
  });

function wholeModels(section: OutputSection): PlannedTensor[] {
  const { model } = section.sources[0]!;
  const names = unionOf(section);
  const order = (name: string): readonly [stack: number, layer: number] => {
    const found = layerName(model, name);
    if (found) return [model.stacks.indexOf(found.stack), found.layer];
    return [isBeforeLayers(name) ? -1 : model.stacks.length, 0];
  };
  const ordered = names.map((name) => [order(name), name] as const);
  return ordered
    .sort(([a], [b]) => a[0] - b[0] || a[1] - b[1])
    .map(([, name]) => {
      const found = layerName(model, name);
      if (!found) return plainTensor(name, section);
      const { numLayers } = found.stack;
      return {
        ...plainTensor(name, section),
        template: templateOf(found),
        layer: found.layer,
        t: numLayers > 1 ? found.layer / (numLayers - 1) : 1,
      };
    });
}

const templateOf = ({ prefix, rest }: { readonly prefix: string; readonly rest: string }) =>
  `${prefix}*.${rest}`;

const plainTensor = (name: string, section: OutputSection): PlannedTensor => ({
  name,
  template: name,
  section,
  layer: null,
  t: 0,
  inputs: section.sources.map((source) => inputOf(source, name)),
});

function inputOf(source: SectionSource, name: string): PlannedInput {
  const { model } = source;
  const stored = storedName(model, name);
  const tensor =
    stored === null ? null : { ...model.opened.files.tensors.get(stored)!, name: stored };
  return { source, name, tensor };
}

/** Which layer of a slice, and which of the output. */
interface LayerPlace {
  readonly index: number;
  readonly length: number;
  readonly layer: number;
}

function layerTensors(
  section: OutputSection,
  rests: readonly ReadonlyMap<number, readonly string[]>[],
  { index, length, layer }: LayerPlace,
): PlannedTensor[] {
  const { sources } = section;
  const { prefix } = sources[0]!.model.stacks[0]!;
  const inLayer = sources.flatMap(({ begin }, k) => rests[k]!.get(begin + index) ?? []);
  return [...new Set(inLayer)].map((rest) => ({
    name: `${prefix}${layer}.${rest}`,
    template: templateOf({ prefix, rest }),
    section,
    layer,
    t: length > 1 ? index / (length - 1) : 1,
    inputs: sources.map((source) => inputOf(source, `${prefix}${source.begin + index}.${rest}`)),
  }));
}

/** What stands in each layer of a model with one stack of them. */
function restsOf({ stored, stacks }: MergeableModel): ReadonlyMap<number, readonly string[]> {
  const byLayer = new Map<number, string[]>();
  for (const name of stored.keys()) {
    const split = splitLayer(name);
    if (!split || split.prefix !== stacks[0]!.prefix) continue;
    const found = byLayer.get(split.layer) ?? [];
    found.push(split.rest);
    byLayer.set(split.layer, found);
  }
  return byLayer;
}

/**
 * The head of models that tie it to the embedding, where the output's embedding is that of other
 * models: it cannot be tied any more.
 */
function headToAdd(first: OutputSection, last: OutputSection, after: readonly string[]): string[] {
  if (after.some(isHead)) return [];
  const keys = ({ sources }: OutputSection) => sources.map(({ model }) => model.reference.key);
  const isSame = `${keys(first)}` === `${keys(last)}`;
  const hadHead = first.sources.some(({ model }) => model.head !== null);
  const ties = last.sources.every(
    ({ model }) =>
      model.embedding !== null && model.opened.files.config.tie_word_embeddings === true,
  );
  return ties && (!isSame || hadHead) ? ['lm_head.weight'] : [];
}

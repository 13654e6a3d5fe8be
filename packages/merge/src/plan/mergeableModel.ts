import type { ModelReference } from '../config/mergeConfig.js';
import type { OpenedModel } from '../inputs/openModel.js';
import { type LayerStack, stacksOf } from './layout.js';
import { isEmbedding, isHead, isIgnored, splitLayer } from './tensorNames.js';

/**
 * A model as a merge sees it: its tensors under the names of the output. A family may be saved with
 * `transformer.` before its names or without it: the first model's spelling is that of the output.
 */
export interface MergeableModel {
  readonly reference: ModelReference;
  readonly opened: OpenedModel;
  readonly stacks: readonly LayerStack[];
  /** Names of the output -> names in the model's files. What is computed anew is left out. */
  readonly stored: ReadonlyMap<string, string>;
  /** The embedding; null: it has none of a known name. */
  readonly embedding: string | null;
  /** The output layer's own weight; null: it has none. */
  readonly head: string | null;
}

/** @param first whose spelling of names counts; null: this is the first one */
export function mergeableModel(opened: OpenedModel, first: MergeableModel | null): MergeableModel {
  const { tensors, config } = opened.files;
  const names = [...tensors].filter(([name, { shape }]) => !isIgnored(name, shape));
  const rename = renaming(stacksOf(tensors.keys(), config), first?.stacks ?? []);
  const stored = new Map(names.map(([name]) => [rename(name), name]));
  const all = [...stored.keys()];
  return {
    reference: opened.reference,
    opened,
    stacks: stacksOf(all, config),
    stored,
    embedding: all.find(isEmbedding) ?? null,
    head: all.find(isHead) ?? null,
  };
}

/** `model.` of `model.layers.` */
const containerOf = ({ prefix }: LayerStack) => prefix.replace(/[^.]+\.$/, '');

function renaming(
  own: readonly LayerStack[],
  wanted: readonly LayerStack[],
): (name: string) => string {
  const [mine, theirs] = [own[0], wanted[0]];
  if (own.length !== 1 || wanted.length !== 1 || mine!.prefix === theirs!.prefix) return (n) => n;
  const [from, to] = [containerOf(mine!), containerOf(theirs!)];
  if (mine!.prefix.slice(from.length) !== theirs!.prefix.slice(to.length)) return (n) => n;
  return (name) =>
    name.startsWith(from) && !isOutside(name) ? to + name.slice(from.length) : name;
}

/** What stands beside the container of the layers in every family. */
const isOutside = (name: string): boolean => /^(lm_head|embed_out|score|classifier)\./.test(name);

/**
 * The name in the files of what a model has under a name of the output. One that ties its head to
 * its embedding, and has one of the two alone, has it under both names.
 *
 * @returns null: it has no such tensor
 */
export function storedName(model: MergeableModel, name: string): string | null {
  const direct = model.stored.get(name);
  if (direct !== undefined) return direct;
  const other = isHead(name) ? model.embedding : isEmbedding(name) ? model.head : null;
  return other !== null && isTied(model) ? model.stored.get(other)! : null;
}

/** Whether a model with one of embedding and head means it for both: unless it denies it. */
export const isTied = ({ opened }: MergeableModel): boolean =>
  opened.files.config.tie_word_embeddings !== false;

/** The name of a tensor of a layer; null: of none of the model's layers. */
export function layerName(model: MergeableModel, name: string) {
  const split = splitLayer(name);
  const stack = split && model.stacks.find(({ prefix }) => prefix === split.prefix);
  return stack && split.layer < stack.numLayers ? { ...split, stack } : null;
}

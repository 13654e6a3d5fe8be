import type { RawConfig } from '@attune/core/io';
import { briefly, sameValue } from '@attune/core/util';
import type { ConfigPath, MergeProblems } from '../problems.js';
import { layersKeyOf, textConfigOf } from './layout.js';
import type { MergeableModel } from './mergeableModel.js';

/** Sizes that no shape shows: the same matrix is cut into other heads. */
const SIZES: readonly (readonly string[])[] = [
  ['hidden_size', 'n_embd', 'd_model'],
  ['num_attention_heads', 'n_head'],
  ['num_key_value_heads'],
  ['head_dim'],
];

/** What the same weights compute other numbers with. */
const SETTINGS = [
  'rope_theta',
  'rope_scaling',
  'hidden_act',
  'hidden_activation',
  'activation_function',
  'rms_norm_eps',
  'layer_norm_epsilon',
  'layer_norm_eps',
  'sliding_window',
  'layer_types',
];

/** A model, and where the config names it. */
export interface PlacedModel {
  readonly model: MergeableModel;
  readonly path: ConfigPath;
}

/**
 * Compares the config of each model with that of the first.
 *
 * @returns models that cannot be compared tensor by tensor: they are of another architecture
 */
export function checkModels(
  placed: readonly PlacedModel[],
  problems: MergeProblems,
  warnings: string[],
): ReadonlySet<MergeableModel> {
  const odd = new Set<MergeableModel>();
  for (const { model, path } of placed) checkLayers(model, path, problems);
  const [first, ...others] = placed;
  for (const { model, path } of others) {
    const wrong = architectures(first!.model, model) ?? sizes(first!.model, model);
    if (wrong !== null) {
      odd.add(model);
      problems.add({ message: wrong, remedy: 'Merge models of one architecture.', path });
    } else warnings.push(...settings(first!.model, model));
  }
  return odd;
}

function checkLayers(model: MergeableModel, path: ConfigPath, problems: MergeProblems): void {
  const { config, folder } = model.opened.files;
  const said = layersKeyOf(config);
  const [stack] = model.stacks;
  if (!said || !stack || model.stacks.length > 1 || said.numLayers <= stack.numLayers) return;
  problems.add({
    message: `${folder}: ${said.key} is ${said.numLayers}, but the weights have ${stack.numLayers} layers (${stack.prefix}...).`,
    remedy: `Compare ${said.key} in config.json with the checkpoint.`,
    path,
  });
}

const keyOf = ({ reference }: MergeableModel): string => reference.key;

function architectures(first: MergeableModel, model: MergeableModel): string | null {
  const describe = ({ opened }: MergeableModel): string => {
    const { architectures: classes, model_type: type } = opened.files.config;
    const name = Array.isArray(classes) ? classes.join(', ') : '';
    return name ? `${name} (${type})` : typeof type === 'string' ? type : briefly(type);
  };
  const classesOf = ({ opened }: MergeableModel) => opened.files.config.architectures ?? null;
  const typeOf = ({ opened }: MergeableModel) => opened.files.config.model_type;
  const [a, b] = [classesOf(first), classesOf(model)];
  const isSame = sameValue(typeOf(first), typeOf(model)) && (!a || !b || sameValue(a, b));
  if (isSame) return null;
  return `architectures differ: ${keyOf(model)} is ${describe(model)}, ${keyOf(first)} is ${describe(first)}.`;
}

function sizes(first: MergeableModel, model: MergeableModel): string | null {
  const value = ({ opened }: MergeableModel, names: readonly string[]): unknown => {
    const text = textConfigOf(opened.files.config);
    return names.map((name) => text[name]).find((size) => typeof size === 'number');
  };
  const differing = SIZES.flatMap((names) => {
    const [here, there] = [value(model, names), value(first, names)];
    if (here === undefined || there === undefined || here === there) return [];
    return [`${names[0]} is ${here} in ${keyOf(model)}, ${there} in ${keyOf(first)}`];
  });
  return differing.length > 0 ? `sizes differ: ${differing.join('; ')}.` : null;
}

function settings(first: MergeableModel, model: MergeableModel): string[] {
  const [a, b] = [first, model].map(({ opened }) => spelledOut(textConfigOf(opened.files.config)));
  return SETTINGS.flatMap((name) => {
    const [there, here] = [a![name], b![name]];
    if (here == null || there == null || sameValue(here, there)) return [];
    return [
      `${name} is ${JSON.stringify(here)} in ${keyOf(model)}, ${JSON.stringify(there)} in ${keyOf(first)}, whose config the output has.`,
    ];
  });
}

/** rope_theta stands in rope_parameters in configs of transformers 5. */
function spelledOut(config: RawConfig): RawConfig {
  const rope = config.rope_parameters as RawConfig | undefined;
  return { ...(rope?.rope_theta !== undefined && { rope_theta: rope.rope_theta }), ...config };
}

import type { InputSlice, MergeConfig } from '../config/mergeConfig.js';
import type { MergeProblems } from '../problems.js';
import type { MergeableModel } from './mergeableModel.js';
import type { OutputSection, SectionSource } from './plannedTensors.js';

/**
 * Checks layers: that whole models have the same, and that slices lie within their models, which
 * have one stack of them.
 *
 * @param odd models that are wrong altogether
 * @returns whether tensors can be laid out
 */
export function checkSections(
  config: MergeConfig,
  sections: readonly OutputSection[],
  odd: ReadonlySet<MergeableModel>,
  problems: MergeProblems,
): boolean {
  const before = problems.all.length;
  const module = [...config.modules.keys()].find((name) => name !== 'default');
  if (module !== undefined)
    problems.add({
      message: `there is no module "${module}": all of a model is the module "default".`,
      remedy: 'Write modules: { default: ... }, or models: and slices: alone.',
      path: ['modules', module],
    });
  for (const section of sections) {
    const sources = section.sources.filter(({ model }) => !odd.has(model));
    if (section.slice === null) checkWhole(sources, problems);
    else checkSlice(sources, section.slice.sources, problems);
  }
  return problems.all.length === before;
}

const describe = ({ stacks }: MergeableModel): string =>
  stacks.map(({ prefix, numLayers }) => `${numLayers} (${prefix}*)`).join(' and ') || 'none';

function checkWhole(sources: readonly SectionSource[], problems: MergeProblems): void {
  const [first] = sources;
  for (const { model, path } of sources)
    if (describe(model) !== describe(first!.model))
      problems.add({
        message: `numbers of layers differ: ${model.reference.key} has ${describe(model)}, ${first!.model.reference.key} has ${describe(first!.model)}.`,
        remedy: 'Merge models of one depth, or write slices: with the layers of each.',
        path,
      });
}

function checkSlice(
  sources: readonly SectionSource[],
  given: readonly InputSlice[],
  problems: MergeProblems,
): void {
  for (const { model, path } of sources) {
    const { key } = model.reference;
    const [stack] = model.stacks;
    if (!stack || model.stacks.length > 1) {
      problems.add({
        message: `${key} has ${model.stacks.length} stacks of layers${stack ? `: ${describe(model)}` : ''}; slices are cut from a model with one.`,
        remedy: 'Write models: in the place of slices: whole models merge tensor by tensor.',
        path,
      });
      continue;
    }
    const { layerRange } = given[path.at(-1) as number]!;
    if (layerRange[1] > stack.numLayers)
      problems.add({
        message: `layer_range [${layerRange.join(', ')}] ends past the ${stack.numLayers} layers of ${key}.`,
        remedy: `Layers count from 0, and the end is not among them: [0, ${stack.numLayers}] is all of the model.`,
        path: [...path, 'layer_range'],
      });
  }
}

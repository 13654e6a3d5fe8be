import { wrongInputs } from '../arithmetic/mergeTensors.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
import type { ConfigPath } from '../problems.js';
import type { InputModel, InputSlice, ModelReference } from './mergeConfig.js';
import type { SectionReader } from './section.js';

/** What one slice of the output is merged from. */
export interface SliceInputs {
  readonly path: ConfigPath;
  readonly sources: readonly (InputModel | InputSlice)[];
  readonly base: ModelReference | null;
}

/**
 * Checks the inputs of a slice among themselves and against what the method takes.
 *
 * @param isWhole whole models, to which a base that is not among them is added
 */
export function checkInputsOf(
  { path, sources, base }: SliceInputs,
  isWhole: boolean,
  method: MergeMethod | null,
  { problems, spell }: Pick<SectionReader, 'problems' | 'spell'>,
): void {
  const keys = sources.map(({ model }) => model.key);
  const twice = keys.findIndex((key, i) => keys.indexOf(key) < i);
  if (twice >= 0)
    problems.add({
      path: [...path, twice],
      message: `the model ${keys[twice]} is there twice.`,
      remedy: 'Leave one of the two, with the sum of the weights.',
    });
  const ranges = sources.flatMap((source) => ('layerRange' in source ? [source.layerRange] : []));
  const counts = ranges.map(([begin, end]) => end - begin);
  const odd = counts.findIndex((count) => count !== counts[0]);
  if (odd >= 0)
    problems.add({
      path: [...path, odd],
      message: `the sources of a slice have ${counts[0]} and ${counts[odd]} layers.`,
      remedy: 'Give ranges of the same length.',
    });
  if (!method || twice >= 0) return;
  const listed = base === null ? -1 : keys.indexOf(base.key);
  const wantsBase = method.base !== 'ignored' && base !== null;
  if (wantsBase && listed < 0 && !isWhole) {
    problems.add({
      path,
      message: `the base ${base.key} is not among the sources ${keys.join(', ')}.`,
      remedy: `Add it to the sources with its ${spell('layerRange')}.`,
    });
    return;
  }
  const isAdded = base !== null && listed < 0 && isWhole;
  const baseIndex = base === null ? null : listed >= 0 ? listed : isAdded ? keys.length : null;
  const wrong = wrongInputs(method, keys.length + (isAdded ? 1 : 0), baseIndex);
  if (!wrong) return;
  const needsBase = method.base === 'required' && base === null;
  problems.add({
    path,
    message: `${method.name} ${wrong}.`,
    remedy: needsBase
      ? `Write ${spell('baseModel')}: with the model that the others were trained from.`
      : `Give other inputs${isAdded ? `; the base ${base.key} is one more of them` : ''}.`,
  });
}

import { AttuneError } from '@attune/core';
import { nearest } from '@attune/core/util';
import type { CommonConfig } from '../contract/config.js';
import type { Targets } from '../contract/methodKinds.js';
import { insideMatcher, isAllLinear, layerNumber, matcher } from '../contract/patterns.js';

/** One module of a model as target matching sees it. */
export interface Candidate {
  readonly path: string;
  readonly isLinear: boolean;
  readonly isEmbedding?: boolean;
}

/** Names of output heads: "all-linear" leaves them out, as PEFT does. */
const OUTPUT_HEADS: ReadonlySet<string> = new Set(['lm_head', 'embed_out', 'score']);

/**
 * Paths of the layers to adapt, in the model's order, by PEFT's rules: excludeModules and
 * modulesToSave first; a list matches a whole path or a dotted suffix; a string is a regular
 * expression of Python over the whole path, or "all-linear". layersToTransform narrows a list (an
 * entry that is a whole path is taken as it is).
 *
 * @param modelType for messages
 * @param kind what may be adapted; "all-linear" is linear layers all the same
 * @throws PEFT_NO_TARGET when nothing matches; PEFT_TARGET_NOT_LINEAR; PEFT_BAD_REGEX
 */
export function matchTargets(
  candidates: readonly Candidate[],
  targetModules: string | readonly string[],
  config: CommonConfig,
  modelType: string,
  kind: Targets = 'linear',
): string[] {
  const { excludeModules, modulesToSave } = config;
  const excluded = excludeModules === null ? () => false : matcher(excludeModules);
  const wholes = (modulesToSave ?? []).map(insideMatcher);
  const saved = (path: string) => wholes.some((fits) => fits(path));
  const wanted = isAllLinear(targetModules)
    ? ({ path, isLinear }: Candidate) => isLinear && !OUTPUT_HEADS.has(path)
    : pathTest(targetModules, config);
  const hits = candidates.filter(wanted);
  const matched = hits.filter(({ path }) => !excluded(path) && !saved(path));
  if (matched.length === 0)
    throw noTarget(candidates, targetModules, config, hits.length, modelType, kind);
  const wrong = kind === 'module' ? undefined : matched.find((m) => !canAdapt(m, kind));
  if (wrong)
    throw new AttuneError(
      'PEFT_TARGET_NOT_LINEAR',
      `targetModules ${JSON.stringify(targetModules)} match "${wrong.path}", which is not a linear layer${kind === 'linear' ? '' : ' and not an embedding'}.`,
      { remedy: 'Name the linear layers in it, or use modulesToSave to train the module whole.' },
    );
  return matched.map(({ path }) => path);
}

const canAdapt = ({ isLinear, isEmbedding }: Candidate, kind: Targets): boolean =>
  isLinear || (kind === 'linearOrEmbedding' && isEmbedding === true);

function pathTest(
  targetModules: string | readonly string[],
  config: CommonConfig,
): (candidate: Candidate) => boolean {
  const fits = matcher(targetModules);
  if (typeof targetModules === 'string') return ({ path }) => fits(path);
  const layers = config.layersToTransform;
  const indices = layers === null ? [] : typeof layers === 'number' ? [layers] : layers;
  if (indices.length === 0) return ({ path }) => fits(path);
  const layerOf = layerNumber([config.layersPattern ?? []].flat());
  return ({ path }) =>
    targetModules.includes(path) || (fits(path) && indices.includes(layerOf(path)));
}

function noTarget(
  candidates: readonly Candidate[],
  targetModules: string | readonly string[],
  config: CommonConfig,
  hits: number,
  modelType: string,
  kind: Targets,
): AttuneError {
  const linear = candidates.filter((c) => c.isLinear);
  const able = candidates.filter((c) => canAdapt(c, kind));
  const names = [...new Set(able.map(({ path }) => path.slice(path.lastIndexOf('.') + 1)))];
  const { layersToTransform } = config;
  const found = `targetModules ${JSON.stringify(targetModules)}`;
  if (hits > 0)
    return new AttuneError(
      'PEFT_NO_TARGET',
      `${found} match ${hits} modules of ${modelType}, and excludeModules ${JSON.stringify(config.excludeModules)} or modulesToSave ${JSON.stringify(config.modulesToSave)} leave out all of them.`,
      { remedy: 'Exclude less, or target more.' },
    );
  const wanted = typeof targetModules === 'string' ? [targetModules] : targetModules;
  const near = wanted.map((name) => nearest(name, names)).find((name) => name !== undefined);
  const within =
    layersToTransform === null ? '' : ` in layers ${JSON.stringify(layersToTransform)}`;
  return new AttuneError(
    'PEFT_NO_TARGET',
    `${found} match none of the ${linear.length} linear layers of ${modelType}${within}.`,
    {
      remedy: `${near ? `Nearest: "${near}". ` : ''}Names: ${names.join(', ')}. Or pass "all-linear".`,
      details: { names },
    },
  );
}

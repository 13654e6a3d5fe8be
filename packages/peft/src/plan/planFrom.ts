import { AttuneError, type LanguageModel } from '@attune/core';
import { nearest } from '@attune/core/util';
import { type PeftConfig, parsePeftConfig } from '../contract/config.js';
import type { PeftMethod } from '../contract/methodKinds.js';
import { PeftMethods } from '../contract/points.js';
import { type AdapterPlan, planAdapter } from './planAdapter.js';

interface ConfigSource {
  /** How messages call it, e.g. "peftConfig" or a file's path. */
  readonly label: string;
  readonly isFile: boolean;
}

/**
 * Parses a config as it was written and matches it to a model.
 *
 * @throws PEFT_TYPE_UNKNOWN, PEFT_CONFIG_INVALID, UNKNOWN_OPTION, PEFT_UNSUPPORTED_OPTION,
 *   and as planAdapter
 */
export function planFrom(
  model: LanguageModel,
  fields: Readonly<Record<string, unknown>>,
  source: ConfigSource,
): AdapterPlan {
  const { logger } = model.attune;
  const method = methodOf(model, fields.peftType ?? fields.peft_type, source.label);
  const warn = (message: string) => logger.warn(message);
  const parsed = parsePeftConfig(method, fields, { ...source, warn });
  const plan = planAdapter(model, method, {
    ...parsed,
    ...taskOf(model, parsed),
    baseModelNameOrPath: parsed.baseModelNameOrPath ?? model.nameOrPath,
  });
  for (const sentence of plan.unmatched) warn(`${source.label}: ${sentence}`);
  const layers = plan.slots.filter((slot) => slot.kind === 'layer');
  if (!source.isFile) for (const slot of layers) slot.method.checkNew?.(slot.layer, slot.config);
  const tied = layers.find(({ layer }) => layer.embedding?.tied);
  if (tied)
    warn(
      `"${tied.path}" is the output head too (tie_word_embeddings): its adapter changes what ids are looked up as, not the head, as in PEFT, and cannot be merged.`,
    );
  return plan;
}

/**
 * What the model is for. A head that is not the language model's is trained with the adapter, as
 * PEFT does for SEQ_CLS.
 */
function taskOf(model: LanguageModel, { taskType, modulesToSave }: PeftConfig) {
  const { headModules = [] } = model;
  if (headModules.length === 0) return { taskType: taskType ?? model.taskType };
  // For SEQ_CLS PEFT lists both names that heads have, whichever the model has.
  const others = (modulesToSave ?? []).filter((name) => name !== 'classifier');
  return {
    taskType: taskType ?? model.taskType,
    modulesToSave: [...new Set([...others, ...headModules])],
  };
}

function methodOf(model: LanguageModel, peftType: unknown, label: string): PeftMethod {
  const methods = model.attune.registry(PeftMethods);
  if (typeof peftType === 'string' && methods.has(peftType)) return methods.get(peftType);
  const near = typeof peftType === 'string' ? nearest(peftType, methods.names) : undefined;
  throw new AttuneError(
    'PEFT_TYPE_UNKNOWN',
    peftType === undefined
      ? `${label} has no peftType.`
      : `${label}: unknown peftType ${JSON.stringify(peftType)}.`,
    {
      remedy: `${peftType === undefined ? "Add one: peftType: 'LORA'. " : near ? `Did you mean "${near}"? ` : ''}Known: ${methods.names.join(', ') || 'none'}. Methods come with plugins: createAttune({ plugins: [..., peft()] }).`,
      details: { known: methods.names },
    },
  );
}

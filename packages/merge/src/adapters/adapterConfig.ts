import type { RawConfig } from '@attune/core/io';
import { formatJson } from '@attune/core/util';

/** What differs from one extracted adapter to another. */
export interface AdapterFacts {
  readonly baseModel: string;
  readonly config: RawConfig;
  readonly rank: number;
  /** Ranks of layers that have another. */
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly targetModules: readonly string[];
  readonly modulesToSave: readonly string[];
  readonly isConv1d: boolean;
}

/** Numbers that PEFT writes as floats. */
const FLOATS: ReadonlySet<string> = new Set(['lora_dropout']);

const taskOf = ({ architectures }: RawConfig): string =>
  Array.isArray(architectures) && /ForSequenceClassification$/.test(String(architectures[0]))
    ? 'SEQ_CLS'
    : 'CAUSAL_LM';

/**
 * adapter_config.json of a LoRA whose scale is 1 on every layer: lora_alpha = r, and where a layer
 * has a rank of its own, an alpha that is as large.
 */
export function formatAdapterConfig(facts: AdapterFacts): string {
  const { rank, rankPattern, modulesToSave } = facts;
  const fields = {
    alpha_pattern: rankPattern,
    auto_mapping: null,
    base_model_name_or_path: facts.baseModel,
    bias: 'none',
    fan_in_fan_out: facts.isConv1d,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: rank,
    lora_bias: false,
    lora_dropout: 0,
    modules_to_save: modulesToSave.length > 0 ? modulesToSave : null,
    peft_type: 'LORA',
    r: rank,
    rank_pattern: rankPattern,
    revision: null,
    target_modules: facts.targetModules,
    task_type: taskOf(facts.config),
    use_dora: false,
    use_rslora: false,
  };
  return formatJson(fields, { floats: FLOATS });
}

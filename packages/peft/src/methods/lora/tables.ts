const queryAndValue = ['q_proj', 'v_proj'] as const;

/** Which layers LoRA adapts without targetModules, by `model_type`: PEFT's table. */
export const defaultTargetModules = {
  llama: queryAndValue,
  mistral: queryAndValue,
  mixtral: queryAndValue,
  qwen2: queryAndValue,
  qwen3: queryAndValue,
  gemma: queryAndValue,
  gemma2: queryAndValue,
  gemma3_text: queryAndValue,
  opt: queryAndValue,
  gptj: queryAndValue,
  gpt_neo: queryAndValue,
  gpt2: ['c_attn'],
  gpt_neox: ['query_key_value'],
  bloom: ['query_key_value'],
  falcon: ['query_key_value'],
  phi: ['q_proj', 'v_proj', 'fc1', 'fc2'],
};

/** Fields that PEFT writes for LoRA and that have no option here, as they are when not in use. */
export const fileFields = {
  alora_invocation_tokens: null,
  arrow_config: null,
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  kasa_config: null,
  layer_replication: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: 'megatron.core',
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
};

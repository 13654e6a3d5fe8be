import { type AdapterProblem, MERGE } from './problem.js';
import { isOn, loraPairs, numberField, type SavedAdapter, some } from './savedAdapter.js';
import { scaleProblems } from './scales.js';
import {
  conv1dPairs,
  dora,
  isHead,
  largestRank,
  methodProblem,
  optionProblems,
  pairProblems,
  refusedTensors,
  sortOthers,
  startProblems,
} from './shared.js';

/** What vLLM can be told to make room for at most. */
const MOST = 512;

/**
 * Tensors of the base that PEFT writes beside an adapted embedding or head: vLLM passes over them.
 */
const isBaseCopy = (name: string): boolean =>
  /\.(embed_tokens|lm_head)\.base_layer\.weight$/.test(name);

/**
 * The rules of vLLM: `vllm/lora/peft_helper.py` (commit e745baf, and a later copy, which refuses
 * every bias), `lora/utils.py` (0fd1570), `lora/lora_model.py` (0306474), `config/lora.py`
 * (01230b4).
 *
 * One scale for all layers, lora_alpha / r, with use_rslora lora_alpha / sqrt(r).
 *
 * @param maxLoraRank of the server
 */
export function vllmProblems(adapter: SavedAdapter, maxLoraRank: number): AdapterProblem[] {
  const target = 'vLLM';
  const { fields } = adapter;
  const method = methodProblem(adapter, target);
  if (method.length > 0) return method;
  const missing = ['r', 'lora_alpha', 'target_modules'].filter((name) => fields[name] == null);
  if (missing.length > 0)
    return [
      {
        code: 'CONFIG_FIELD',
        effect: 'refused',
        message: `adapter_config.json has no ${missing.join(', ')}.`,
        fix: 'Save the adapter again, with all its fields.',
      },
    ];
  const { pairs, others } = loraPairs(adapter);
  const found = sortOthers(adapter, others);
  const problems: AdapterProblem[] = [];
  if (isOn(fields.modules_to_save) || found.modules.length > 0)
    problems.push({
      code: 'MODULES_TO_SAVE',
      effect: 'refused',
      message: `it trains whole modules (modules_to_save: ${JSON.stringify(fields.modules_to_save)}).`,
      fix: MERGE,
    });
  if (isOn(fields.use_dora) || found.dora.length > 0) problems.push(dora(target));
  if ((isOn(fields.bias) && fields.bias !== 'none') || found.biases.length > 0)
    problems.push({
      code: 'BIAS',
      effect: 'refused',
      message:
        found.biases.length > 0
          ? `it has biases (${some(found.biases)}).`
          : `bias is ${JSON.stringify(fields.bias)}, which vLLM refuses even where the layers have none.`,
      fix: MERGE,
    });
  const rank = Math.max(numberField(adapter, 'r'), largestRank(pairs));
  if (rank > maxLoraRank)
    problems.push({
      code: 'RANK',
      effect: 'refused',
      message: `rank ${rank} is above max_lora_rank, which is ${maxLoraRank}${maxLoraRank === 16 ? ' by default' : ''}.`,
      fix:
        rank <= MOST
          ? `Start vLLM with --max-lora-rank ${[1, 8, 16, 32, 64, 128, 256, 320, MOST].find((room) => room >= rank)}, and say maxLoraRank here.`
          : MERGE,
    });
  problems.push(
    ...optionProblems(adapter, target, ['alora_invocation_tokens', 'trainable_token_indices']),
    ...startProblems(adapter, target),
    ...pairProblems(pairs),
    ...embeddingProblems(adapter),
    ...refusedTensors(
      found.rest.filter((name) => !isBaseCopy(name)),
      target,
    ),
  );
  const { r, lora_alpha: alpha } = fields as { r: number; lora_alpha: number };
  const scale = alpha / (fields.use_rslora === true ? Math.sqrt(r) : r);
  problems.push(
    ...scaleProblems(adapter, pairs, () => scale, {
      target,
      formula: 'one lora_alpha and r for all layers',
      knowsRslora: true,
    }),
  );
  return problems;
}

function embeddingProblems(adapter: SavedAdapter): AdapterProblem[] {
  const { pairs } = loraPairs(adapter);
  const embeddings = pairs.filter((pair) => pair.isEmbedding);
  const heads = pairs.filter((pair) => !pair.isEmbedding && isHead(pair));
  const transposed = conv1dPairs(adapter, pairs);
  const problems: AdapterProblem[] = [];
  const add = (code: 'EMBEDDING' | 'HEAD' | 'CONV1D', message: string) =>
    problems.push({ code, effect: 'refused', message, fix: MERGE });
  if (embeddings.length > 0)
    add(
      'EMBEDDING',
      `it adapts ${some(embeddings.map(({ path }) => path))}; vLLM allows that for the families that declare it (Llama, Mistral), not for Qwen2 and others.`,
    );
  if (heads.length > 0)
    add(
      'HEAD',
      `it adapts ${some(heads.map(({ path }) => path))}; vLLM allows that for the families that declare it (Llama, Mistral), with at most 258048 tokens, not for Qwen2 and others.`,
    );
  if (transposed.length > 0)
    add(
      'CONV1D',
      `it adapts GPT-2's layers (${some(transposed.map(({ path }) => path))}); vLLM has no LoRA for GPT-2.`,
    );
  return problems;
}

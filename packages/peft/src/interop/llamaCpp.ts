import { type AdapterProblem, MERGE } from './problem.js';
import { isOn, loraPairs, numberField, rankOf, type SavedAdapter, some } from './savedAdapter.js';
import { scaleProblems } from './scales.js';
import {
  conv1dPairs,
  dora,
  isHead,
  methodProblem,
  optionProblems,
  pairProblems,
  refusedTensors,
  sortOthers,
  startProblems,
} from './shared.js';

/** What the converter passes over, or keeps as a norm that llama.cpp does not read. */
const isPassedOver = (name: string): boolean =>
  name.includes('.base_layer.weight') || name.includes('_layernorm') || name.includes('.norm');

/**
 * The rules of llama.cpp: `convert_lora_to_gguf.py` (commit 0b03ada), `src/llama-adapter.cpp`
 * (0650ea8) and `llama-adapter.h` (215841f), the converter of GPT-2, issue 9065.
 *
 * The converter reads lora_alpha alone of the config; the scale is lora_alpha / rank of the tensor.
 */
export function llamaCppProblems(adapter: SavedAdapter): AdapterProblem[] {
  const target = 'llama.cpp';
  const { fields } = adapter;
  const method = methodProblem(adapter, target);
  if (method.length > 0) return method;
  if (fields.lora_alpha == null)
    return [
      {
        code: 'CONFIG_FIELD',
        effect: 'refused',
        message: 'adapter_config.json has no lora_alpha.',
        fix: 'Save the adapter again, with all its fields.',
      },
    ];
  const { pairs, others } = loraPairs(adapter);
  const found = sortOthers(adapter, others);
  const problems: AdapterProblem[] = [];
  if (isOn(fields.use_dora) || found.dora.length > 0) problems.push(dora(target));
  if (found.biases.length > 0)
    problems.push({
      code: 'BIAS',
      effect: 'refused',
      message: `the converter takes A and B alone, and ends at ${some(found.biases)}.`,
      fix: MERGE,
    });
  if (found.modules.length > 0)
    problems.push({
      code: 'MODULES_TO_SAVE',
      effect: 'refused',
      message: `the converter takes A and B alone, and ends at ${some(found.modules)}.`,
      fix: MERGE,
    });
  problems.push(
    ...optionProblems(adapter, target, ['trainable_token_indices']),
    ...startProblems(adapter, target),
    ...pairProblems(pairs),
    ...layerProblems(adapter),
    ...refusedTensors(
      found.rest.filter((name) => !isPassedOver(name)),
      target,
    ),
  );
  if (!isOn(fields.base_model_name_or_path))
    problems.push({
      code: 'BASE',
      effect: 'refused',
      message:
        'base_model_name_or_path is empty, and the converter needs the config.json of the base.',
      fix: 'Give the converter --base with the folder of the base model, or set baseModelNameOrPath.',
    });
  const alpha = numberField(adapter, 'lora_alpha');
  problems.push(
    // A lora_alpha of 0 means no scale there.
    ...scaleProblems(adapter, pairs, (pair) => (alpha === 0 ? 1 : alpha / rankOf(pair)), {
      target,
      formula: 'lora_alpha / rank',
      knowsRslora: false,
    }),
  );
  return problems;
}

function layerProblems(adapter: SavedAdapter): AdapterProblem[] {
  const { pairs } = loraPairs(adapter);
  const problems: AdapterProblem[] = [];
  const add = (code: 'EMBEDDING' | 'HEAD' | 'CONV1D', message: string) =>
    problems.push({ code, effect: 'refused', message, fix: MERGE });
  const embeddings = pairs.filter((pair) => pair.isEmbedding);
  if (embeddings.length > 0)
    add(
      'EMBEDDING',
      `it adapts ${some(embeddings.map(({ path }) => path))}: where the head is tied to it, llama.cpp applies those factors to the head too, where they do not fit.`,
    );
  const heads = pairs.filter((pair) => !pair.isEmbedding && isHead(pair));
  if (heads.length > 0)
    add(
      'HEAD',
      `it adapts ${some(heads.map(({ path }) => path))}: the converter refuses that where the head is tied to the embedding.`,
    );
  const transposed = conv1dPairs(adapter, pairs);
  if (transposed.length > 0)
    add(
      'CONV1D',
      `it adapts GPT-2's layers (${some(transposed.map(({ path }) => path))}): the converter transposes them, as it does the base's weights, and PEFT's factors are not transposed.`,
    );
  return problems;
}

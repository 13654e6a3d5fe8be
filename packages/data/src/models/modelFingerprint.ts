import { createHash } from 'node:crypto';
import type { LanguageModel } from '@attune/core';
import { inference, longestInput } from '@attune/core/models';
import { collateTokens } from '@attune/core/text';
import { upload } from '@attune/core/training';

/** Tokens that a model is asked about. */
const PROBE = 64;

/**
 * A digest of what a model computes: its last hidden states of a fixed text, and the logits behind
 * them. Adapters, quantisation and training change it, as another device may: then results that
 * were kept are computed again. It costs one forward pass over 64 tokens.
 */
export async function modelFingerprint(model: LanguageModel): Promise<string> {
  const { engine, config } = model;
  const length = Math.max(1, Math.min(PROBE, longestInput(model)));
  // Ids from all over the vocabulary.
  const inputIds = Int32Array.from({ length }, (_, i) =>
    Math.floor(((i + 0.5) * config.vocabSize) / length),
  );
  const batch = collateTokens([{ inputIds, labels: inputIds }], length);
  const [hidden, logits] = inference(model, () => {
    const device = upload(engine, batch, model);
    const all = model
      .hiddenStates({
        inputIds: device.inputIds!,
        positions: device.positions!,
        segments: device.segments!,
      })
      .cast('float32');
    const last = all.slice(1, length - 1, length); // [1, 1, D]
    return [all, model.taskType === 'CAUSAL_LM' ? model.head(last) : last] as const;
  });
  const digest = createHash('sha256').update(JSON.stringify(config.raw));
  for (const tensor of [hidden, logits]) {
    digest.update(new Uint8Array((await tensor.data()).slice().buffer));
    tensor.dispose();
  }
  return digest.digest('hex').slice(0, 32);
}

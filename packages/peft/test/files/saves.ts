import { join } from 'node:path';
import { AutoTokenizer, createAttune, type LanguageModel, silentLogger } from '@attune/core';
import { saveWhole } from '@attune/core/io';
import { getPeftModel, type PeftConfigInput, peft } from '@attune/peft';
import { minuteLlama } from '../../../core/test/trainer/support.js';

/**
 * Two saves of a kind, the second over the first. Each is prepared by the first call and done by
 * the second.
 */
export type Saves = Readonly<Record<string, readonly [older: Prepare, newer: Prepare]>>;
/** @param fixtures the folder of the fixtures: a bundle does not know where it came from */
type Prepare = (folder: string, fixtures: string) => Promise<() => Promise<void>>;

const open = () => createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });

const model =
  (seed: number, maxShardSize: number): Prepare =>
  async (folder) => {
    const changes = { rms_norm_eps: seed / 100 };
    const llama = await minuteLlama(await open(), seed, changes);
    return () => llama.savePretrained(folder, { maxShardSize });
  };

const adapter =
  (config: PeftConfigInput): Prepare =>
  async (folder) => {
    const llama: LanguageModel = await minuteLlama(await open());
    const adapted = getPeftModel(llama, config);
    return () => adapted.savePretrained(folder);
  };

/** A model and its tokenizer, as `Trainer.saveModel` saves them. */
const both =
  (seed: number, tokenizer: string): Prepare =>
  async (folder, fixtures) => {
    const llama = await minuteLlama(await open(), seed);
    const words = await AutoTokenizer.fromPretrained(join(fixtures, 'tokenizers', tokenizer));
    return () =>
      saveWhole(folder, async (temporary) => {
        await llama.savePretrained(temporary);
        await words.savePretrained(temporary);
      });
  };

export const saves: Saves = {
  model: [model(1, 600), model(2, 1200)],
  adapter: [
    adapter({ peftType: 'P_TUNING', numVirtualTokens: 2, encoderHiddenSize: 4 }),
    adapter({ peftType: 'LORA', r: 2, targetModules: ['q_proj'] }),
  ],
  both: [both(1, 'bpe-llama3'), both(2, 'bpe-bytefallback')],
};

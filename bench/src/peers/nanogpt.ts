import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Contender } from '../harness/measure.js';
import type { TinyLm } from '../models/tinyLm.js';

/**
 * The parts of @genai-fi/nanogpt's own modules that a training step needs; the package exports
 * fewer.
 */
interface Trainer {
  trainStep(state: object, batch: { xs: unknown; ys: unknown }): Loss;
}
interface Loss {
  data(): Promise<ArrayLike<number>>;
  dispose(): void;
}
type Tensor2d = (values: Int32Array, shape: readonly number[], dtype: 'int32') => unknown;
type Module = Readonly<Record<string, unknown>>;

/** nanogpt on the TensorFlow.js that it bundles: a GPT with rotary positions and AdamW. */
export interface Nanogpt {
  /** Full training steps of a model of the same sizes. */
  trainSteps(sizes: TinyLm, inputs: Int32Array, targets: Int32Array): Contender;
}

export async function loadNanogpt(): Promise<Nanogpt> {
  lookLikeABrowser();
  const dist = dirname(fileURLToPath(import.meta.resolve('@genai-fi/nanogpt')));
  const load = async (file: string): Promise<Module> =>
    (await import(pathToFileURL(join(dist, file)).href)) as Module;
  const { selectBackend } = (await load('backend.js')) as {
    selectBackend(name: string): Promise<void>;
  };
  await selectBackend('webgpu');
  const makeModel = (await load('models/factory.js')).default as (config: object) => unknown;
  const makeTrainer = (await load('training/factory.js')).default as (
    model: unknown,
    tokenizer: object,
    options: object,
  ) => Trainer;
  const bundles = readdirSync(dist).filter((file) => /^dist-.*\.js$/.test(file));
  const tensor2d = findTensor2d(await Promise.all(bundles.map(load)));
  return {
    trainSteps({ vocabSize, hiddenSize, numLayers, numHeads, length, batchSize }, inputs, targets) {
      const model = makeModel({
        modelType: 'GenAI_NanoGPT_v1',
        vocabSize,
        blockSize: length,
        nLayer: numLayers,
        nHead: numHeads,
        nEmbed: hiddenSize,
        mlpFactor: 4,
        useRope: true,
      });
      const trainer = makeTrainer(model, tokenizer(vocabSize), {
        method: { type: 'pretraining' },
        batchSize,
        learningRate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        weightDecay: 0.01,
        lossScaling: 1,
      });
      const xs = tensor2d(inputs, [batchSize, length], 'int32');
      const ys = tensor2d(targets, [batchSize, length], 'int32');
      return {
        async run() {
          const loss = trainer.trainStep({}, { xs, ys });
          // Copied after everything that the step recorded, so this waits for all of it.
          const [value] = Array.from(await loss.data());
          loss.dispose();
          if (!Number.isFinite(value)) throw new Error(`the loss is ${value}.`);
        },
      };
    },
  };
}

/** Its bundled TensorFlow.js looks for these, and takes Node for something else without them. */
function lookLikeABrowser(): void {
  const canvas = () => ({ getContext: () => null, style: {} });
  Object.assign(globalThis, {
    window: globalThis,
    document: { createElement: canvas, head: {}, body: {} },
  });
}

/** Names in the bundle are mangled; the text of its error message is not. */
function findTensor2d(bundles: readonly Module[]): Tensor2d {
  for (const bundle of bundles)
    for (const value of Object.values(bundle))
      if (typeof value === 'function' && /tensor2d\(\) requires shape/.test(String(value)))
        return value as Tensor2d;
  throw new Error('no tensor2d in its bundle.');
}

const tokenizer = (vocabSize: number) => ({
  vocabSize,
  eosToken: 0,
  bosToken: 1,
  trained: true,
  encode: () => [],
  decode: () => '',
  getVocab: () => [],
});

import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  createAttune,
  definePlugin,
  type LanguageModel,
  silentLogger,
  type Tensor,
} from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import type { Parameter } from '@attune/core/nn';
import type { PeftMethod } from '../contract/methodKinds.js';
import { PeftMethods } from '../contract/points.js';
import { methods } from '../methods/index.js';
import { peft } from '../plugin.js';

/** A Qwen2 of two layers, since its projections have biases: a forgotten one shows. */
const QWEN2 = {
  model_type: 'qwen2',
  vocab_size: 19,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  initializer_range: 0.3,
  tie_word_embeddings: false,
};

/** An Attune on the reference backend (float64) that knows the method. */
export const openFor = (method: PeftMethod): Promise<Attune> =>
  createAttune({
    backend: 'reference',
    logger: silentLogger,
    plugins: [
      peft(),
      definePlugin({
        name: 'peft-method-kit',
        version: '1.0.0',
        apiVersion: 1,
        register: (context) => {
          if (!methods.includes(method)) context.add(PeftMethods, method);
        },
      }),
    ],
  });

/** The model of the kit: always the same numbers; biases and norms away from 0 and 1. */
export async function kitModel(attune: Attune, changes: object, in4bit = false): Promise<CausalLM> {
  const model = await AutoModelForCausalLM.fromConfig(
    { ...QWEN2, ...changes },
    { attune, seed: 1, ...(in4bit && { quantization: { loadIn4bit: true } }) },
  );
  let n = 0;
  for (const [name, parameter] of model.root.namedParameters())
    if (/bias$|norm\.\w+$/.test(name)) move(parameter, () => 0.2 * Math.sin(++n));
  return model;
}

/** Every trained parameter away from its start, so that the adapter does something. */
export function disturb(model: LanguageModel, seed = 0): void {
  let n = seed;
  for (const parameter of trained(model).values()) move(parameter, () => 0.15 * Math.sin(++n * 7));
}

/** Adds to the values of a parameter, in float64. */
export function move({ tensor }: Parameter, by: (i: number) => number): void {
  const values = reference(tensor).peek(tensor.operand);
  reference(tensor).poke(
    tensor.operand,
    values.map((value, i) => value + by(i)),
  );
}

export function reference({ engine }: Tensor): ReferenceBackend {
  if (engine.backend instanceof ReferenceBackend) return engine.backend;
  throw new Error('the kit runs on the reference backend');
}

export const trained = ({ root }: LanguageModel): Map<string, Parameter> =>
  new Map([...root.namedParameters()].filter(([, parameter]) => parameter.trainable));

const ROWS = [
  [3, 9, 2, 7, 11],
  [5, 5, 14, 1, 8],
];

const inputs = ({ engine }: LanguageModel) => ({
  inputIds: engine.tensor(ROWS.flat(), [ROWS.length, ROWS[0]!.length], 'int32'),
});

/** Logits in float64. */
export function logits(model: LanguageModel): Float64Array {
  const { engine } = model;
  return engine.noGrad(() =>
    engine.scope('logits', () => {
      const out = model.forward(inputs(model));
      return reference(out).peek(out.operand).slice();
    }),
  );
}

/** Some loss of the logits: no element cancels another. Records. */
export function loss(model: LanguageModel): Tensor {
  const out = model.forward(inputs(model)).logSoftmax();
  const weights = Float32Array.from({ length: out.size }, (_, i) => 0.5 + 0.5 * Math.sin(i));
  return out.mul(model.engine.tensor(weights, out.shape)).sum();
}

/** Gradients of the loss, in float64, of every parameter that has one. */
export function gradients(model: LanguageModel): Map<string, Float64Array> {
  const { engine, root } = model;
  engine.scope('backward', () => engine.backward(loss(model)));
  const found = new Map<string, Float64Array>();
  for (const [name, parameter] of root.namedParameters()) {
    const { grad } = parameter.tensor;
    if (grad) found.set(name, reference(grad).peek(grad.operand).slice());
    parameter.clearGrad();
  }
  return found;
}

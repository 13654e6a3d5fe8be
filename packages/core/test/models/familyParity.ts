import { type Attune, AutoModelForCausalLM, type CausalLM, ops } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { expect } from 'vitest';
import { fixture, fixtureJson, largestDifference } from './support.js';

/**
 * The families of parity/rows_families.py: one tiny random model each, float32 numbers of
 * transformers.
 */
export const families = [
  'tiny-mistral',
  'tiny-qwen2-window',
  'tiny-qwen3',
  'tiny-smollm3',
  'tiny-gemma',
  'tiny-gemma2',
  'tiny-gemma3',
  'tiny-phi3',
  'tiny-gpt2',
];

/** The weights are bfloat16 in the file; transformers computed with them in float32. */
export const loadTiny = (attune: Attune, name: string): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(fixture(name), { attune, dtype: 'float32' });

/**
 * Mean cross-entropy of the next token from unshifted labels, its gradients left on the parameters.
 */
function backwardOf(model: CausalLM, ids: Int32Array, labels: Int32Array, shape: number[]) {
  const { engine } = model;
  const [batch, length] = shape as [number, number];
  const logits = model.forward({ inputIds: engine.tensor(ids, shape, 'int32') });
  const next = Int32Array.from(labels, (_, i) => ((i + 1) % length ? labels[i + 1]! : -100));
  const nll = ops.crossEntropy(
    logits.reshape(batch * length, -1),
    engine.tensor(next, [batch * length], 'int32'),
  );
  const loss = nll.sum().mul(1 / next.filter((label) => label >= 0).length);
  engine.backward(loss);
  return { logits, loss };
}

/**
 * What the fixture keeps of a gradient: a vector itself, of a matrix G [m, n] the products G w and
 * w G.
 */
function sketch(grad: ArrayLike<number>, shape: readonly number[]): Record<string, number[]> {
  if (shape.length === 1) return { '': Array.from(grad) };
  const [m, n] = shape as [number, number];
  const wave = (i: number) => 2 + Math.cos(i);
  const rows = new Array<number>(m).fill(0);
  const columns = new Array<number>(n).fill(0);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      const g = grad[i * n + j]!;
      rows[i]! += g * wave(j);
      columns[j]! += g * wave(i);
    }
  return { '.rows': rows, '.columns': columns };
}

const norm = (values: ArrayLike<number>) => Math.hypot(...Array.from(values));

/** Largest difference over the largest value: a vector's components may cancel to nothing. */
function relativeDifference(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  const largest = Math.max(...Array.from(theirs, Math.abs));
  return largestDifference(ours, theirs) / Math.max(largest, 1e-12);
}

export interface ParityTolerance {
  /** Absolute, of logits and loss. */
  readonly logits: number;
  /** Relative to the largest component, of every gradient. */
  readonly gradients: number;
}

/**
 * Logits, loss and the gradient of every parameter against the fixture.
 *
 * @param prepare changes the model first
 */
export async function checkForwardBackward(
  attune: Attune,
  name: string,
  tolerance: ParityTolerance,
  prepare: (model: CausalLM) => void = () => {},
): Promise<void> {
  const model = await loadTiny(attune, name);
  prepare(model);
  await using expected = await SafetensorsFile.open(fixture(`${name}/forward.safetensors`));
  const facts = fixtureJson(`${name}/forward.json`);
  const ids = await expected.read('input_ids');
  const labels = await expected.read('labels');
  const { logits, loss } = backwardOf(
    model,
    ids.data as Int32Array,
    labels.data as Int32Array,
    ids.shape as number[],
  );
  const theirs = await expected.read('logits');
  expect(logits.shape).toEqual(theirs.shape);
  expect(largestDifference(await logits.data(), theirs.data)).toBeLessThan(tolerance.logits);
  expect(Math.abs((await loss.item()) - facts.loss)).toBeLessThan(tolerance.logits);

  const parameters = [...model.root.namedParameters()];
  expect(Object.fromEntries(parameters.map(([n, p]) => [n, p.shape]))).toEqual(facts.parameters);
  for (const [path, parameter] of parameters) {
    const ours = await parameter.tensor.grad!.data();
    expect(Math.abs(norm(ours) / facts.gradNorm[path] - 1), path).toBeLessThan(tolerance.gradients);
    for (const [kind, values] of Object.entries(sketch(ours, parameter.shape))) {
      const { data } = await expected.read(`grad.${path}${kind}`);
      expect(relativeDifference(values, data), `${path}${kind}`).toBeLessThan(tolerance.gradients);
    }
  }
  model.dispose();
}

/** 64 greedy tokens, id for id, and a batch padded on the left. */
export async function checkGeneration(attune: Attune, name: string, useCache: boolean) {
  const model = await loadTiny(attune, name);
  const { greedy, greedyPadded } = fixtureJson(`${name}/forward.json`);
  const one = await model.generate({ inputIds: greedy.promptIds, maxNewTokens: 64, useCache });
  expect(one.sequences[0]).toEqual(greedy.ids);
  const two = await model.generate({
    inputIds: greedyPadded.prompts,
    maxNewTokens: 24,
    padTokenId: 0,
    useCache,
  });
  expect(two.sequences).toEqual(greedyPadded.ids);
  model.dispose();
}

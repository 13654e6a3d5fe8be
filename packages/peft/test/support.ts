import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  createAttune,
  type DType,
  type Engine,
  type LanguageModel,
  type Logger,
  type Plugin,
  silentLogger,
  type Tensor,
} from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { SafetensorsFile } from '@attune/core/io';
import { Linear, Module } from '@attune/core/nn';
import { type PeftConfigInput, type PeftModel, peft } from '@attune/peft';
import { onTestFinished } from 'vitest';

export const fixtures = join(import.meta.dirname, '../../../parity/fixtures');

/** A tensor as the parity scripts write it. */
export interface FixtureTensor {
  readonly shape: readonly number[];
  readonly data: readonly (number | string)[];
}

export interface FixtureCase {
  readonly name: string;
  readonly inputs: Readonly<Record<string, FixtureTensor>>;
  readonly outputs: Readonly<Record<string, FixtureTensor>>;
  readonly grads: Readonly<Record<string, FixtureTensor>>;
  readonly attrs: Readonly<Record<string, unknown>>;
}

export const fixture = <T = { readonly cases: readonly FixtureCase[] }>(file: string): T =>
  JSON.parse(readFileSync(join(fixtures, file), 'utf8')) as T;

export const numbers = (t: FixtureTensor): number[] => t.data.map(Number);

/**
 * A config that TypeScript cannot judge: of a fixture, of a method that is not declared, or wrong
 * on purpose.
 */
export const untyped = (config: object): PeftConfigInput => config as PeftConfigInput;

/** An Attune on the reference backend, disposed when the test ends. */
export async function open(
  options: { plugins?: readonly Plugin[]; logger?: Logger; seed?: number } = {},
): Promise<Attune> {
  const { plugins = [peft()], logger = silentLogger, seed = 0 } = options;
  const attune = await createAttune({ plugins, logger, seed, backend: 'reference' });
  onTestFinished(() => attune.dispose());
  return attune;
}

export const load = (attune: Attune, name = 'tiny-llama', dtype?: DType): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(join(fixtures, name), {
    attune,
    ...(dtype && { dtype }),
  });

export async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'attune-peft-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Logits [B, T, V] of rows of equal length, without history. */
export async function logits(
  model: LanguageModel,
  rows: readonly (readonly number[])[] = [[5, 9, 2, 7, 30]],
): Promise<Float32Array> {
  const { engine } = model;
  const shape = [rows.length, rows[0]!.length];
  const out = engine.noGrad(() =>
    engine.scope('logits', () =>
      model.forward({ inputIds: engine.tensor(rows.flat(), shape, 'int32') }),
    ),
  );
  const values = (await out.data()) as Float32Array;
  out.dispose();
  return values;
}

export async function readTensors(path: string) {
  const file = await SafetensorsFile.open(path);
  const tensors = await Promise.all(file.names.map((name) => file.read(name)));
  await file.close();
  return new Map(tensors.map((t) => [t.name, t]));
}

export const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

/** Every trainable parameter away from its start, so that the adapter does something. */
export function disturb(model: PeftModel<LanguageModel>, size = 0.1): void {
  for (const [, parameter] of model.root.namedParameters())
    if (parameter.trainable) {
      const values = Float32Array.from(
        { length: parameter.size },
        () => size * model.engine.rng.normal(),
      );
      const { tensor } = parameter;
      tensor.engine.backend.write(tensor.storage.buffer, tensor.byteOffset, values);
    }
}

/** A model that is one linear layer called `proj`. */
export class One extends Module {
  constructor(readonly linear: Linear) {
    super();
    this.addChild('proj', linear);
  }
  forward(x: Tensor): Tensor {
    return this.child<Linear>('proj').forward(x);
  }
}

/** What adapters ask of a language model, around any tree of modules. */
export function modelOf(attune: Attune, root: Module, modelType = 'test'): LanguageModel {
  const never = () => {
    throw new Error('not part of this model');
  };
  return {
    attune,
    engine: attune.engine,
    root,
    adapters: null,
    nameOrPath: 'somewhere/test',
    folder: null,
    config: {
      modelType,
      vocabSize: 16,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 1,
      numKeyValueHeads: 1,
      headDim: 8,
      maxPositionEmbeddings: 8,
      tieWordEmbeddings: false,
      bosTokenId: null,
      eosTokenId: [],
      padTokenId: null,
      generation: null,
      raw: {},
    },
    taskType: 'CAUSAL_LM',
    hiddenStates: never,
    head: never,
    headWeight: never,
    gradientCheckpointingEnable: never,
    gradientCheckpointingDisable: never,
    isGradientCheckpointing: false,
    forward: never,
    savePretrained: never,
  };
}

/** `proj` with given weights. */
export function one(
  attune: Attune,
  weight: FixtureTensor,
  options: { bias?: FixtureTensor | undefined; dtype?: DType } = {},
): { root: One; model: LanguageModel } {
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  const { bias, dtype = 'float32' } = options;
  const linear = new Linear(attune.engine, { inFeatures, outFeatures, bias: !!bias, dtype });
  linear.weight.replace(attune.engine.tensor(numbers(weight), weight.shape, dtype));
  if (bias) linear.bias!.replace(attune.engine.tensor(numbers(bias), bias.shape, dtype));
  const root = new One(linear);
  return { root, model: modelOf(attune, root) };
}

/** Sets parameters by the end of their names in the tree. */
export function setParameters(root: Module, values: Readonly<Record<string, FixtureTensor>>): void {
  const parameters = new Map(root.namedParameters());
  for (const [name, value] of Object.entries(values)) {
    const parameter = parameters.get(name)!;
    parameter.replace(parameter.tensor.engine.tensor(numbers(value), value.shape));
  }
}

/** The float64 values behind a tensor of the reference backend. */
export function exact(engine: Engine, tensor: Tensor): number[] {
  if (!(engine.backend instanceof ReferenceBackend)) throw new Error('needs the reference backend');
  return [...engine.backend.peek(tensor.operand)];
}

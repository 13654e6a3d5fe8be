import { AttuneError, type Engine, type Tensor } from '@attune/core';
import type { Init, ParamSpec } from '../contract/paramSpec.js';

type FromBase = Extract<Init, { fromBase: unknown }>['fromBase'];
type Embed = (ids: readonly number[]) => Tensor;

/**
 * A new float32 tensor with its first values; random ones come from the engine's seed, in order.
 *
 * @param fromBase computes what depends on the layer's weight
 * @param embed looks ids up in the model's embedding
 */
export function initialised(
  engine: Engine,
  { shape, init }: Pick<ParamSpec, 'shape' | 'init'>,
  fromBase: (values: FromBase) => Tensor = noLayer,
  embed: Embed = noEmbedding,
): Tensor {
  if (typeof init === 'object' && 'fromBase' in init) return fromBase(init.fromBase);
  if (typeof init === 'object' && 'tokens' in init)
    return embed(init.tokens(() => engine.rng.uniform()));
  if (init === 'zeros') return engine.zeros(shape);
  if (init === 'ones') return engine.ones(shape);
  if (typeof init === 'object' && 'constant' in init) return engine.full(shape, init.constant);
  if (typeof init === 'object' && 'values' in init)
    return engine.tensor(init.values(engine.rng), shape);
  const draw = sampler(engine, shape, init);
  const size = shape.reduce((n, d) => n * d, 1);
  return engine.tensor(Float32Array.from({ length: size }, draw), shape);
}

function noLayer(): never {
  throw new AttuneError(
    'PEFT_METHOD_INVALID',
    'a tensor that layers share cannot start from the weight of one of them (`fromBase`).',
    { remedy: 'Make it a parameter of each layer, or start it in another way.' },
  );
}

function noEmbedding(): never {
  throw new AttuneError(
    'PEFT_METHOD_INVALID',
    'a parameter of a layer cannot start as the embedding of tokens (`tokens`).',
    { remedy: 'Virtual tokens can: `prompt` of definePeftMethod. Start it in another way.' },
  );
}

function sampler(
  { rng }: Engine,
  shape: readonly number[],
  init: 'kaimingUniform' | { readonly uniform: number } | { readonly normal: number },
): () => number {
  if (typeof init === 'object' && 'normal' in init) return () => init.normal * rng.normal();
  // kaiming_uniform(a): bound = sqrt(6 / ((1 + a^2) fanIn)), which for a = sqrt 5 is 1 /
  // sqrt(fanIn).
  const bound = init === 'kaimingUniform' ? 1 / Math.sqrt(shape.at(-1) ?? 1) : init.uniform;
  return () => bound * (2 * rng.uniform() - 1);
}

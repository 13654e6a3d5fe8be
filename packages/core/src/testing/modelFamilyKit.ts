import { isDeepStrictEqual } from 'node:util';
import type { Attune } from '../attune.js';
import { ReferenceBackend } from '../backend/reference/referenceBackend.js';
import type { RawConfig } from '../io/hfConfig.js';
import type { CausalLM } from '../models/causalLm.js';
import { ModelFamilies, type ModelFamily } from '../models/families/family.js';
import { cacheFor } from '../models/kvCache.js';
import type { ForwardInput } from '../models/languageModel.js';
import { AutoModelForCausalLM } from '../models/loading/auto.js';
import { Engine } from '../tensor/engine.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { type KitCheck, kitOf } from './kit.js';
import { distance, gradientsOf, largest, move, valuesOf, wrongGradients } from './numbers.js';
import { inFolder, kitAttune, kitPlugin } from './trainingKit.js';

/** Options of the kit for model families. */
export interface ModelFamilyKitOptions {
  /**
   * A config.json of the family, without its `model_type`: a vocabulary of 12 or more, positions
   * for 12 tokens or more, and small, since each check makes such a model. Give it whatever makes
   * the family what it is: a window of 3 tokens, two layers of different kinds.
   */
  readonly config: RawConfig;
  /** Changes of it that the family refuses: what is not implemented. Default none. */
  readonly refused?: readonly RawConfig[];
}

/** Two texts. A token at which a family pads has no gradient in an embedding: 0 is in neither. */
const TEXTS = [
  [3, 9, 2, 7, 11, 4],
  [5, 1, 8],
] as const;

/**
 * What every model family must do, as checks for any test framework, on the reference backend in
 * float64:
 *
 *     for (const { name, run } of modelFamilyKit(family, { config })) test(name, run);
 *
 * A config that it cannot build is refused with the name of the key. The facts that it gives are
 * those of the model. Saved and loaded, a model is the same. A text has the same logits alone, in
 * a batch, padded on either side, packed with another, and token by token through a cache; a later
 * token changes no earlier one. Every parameter has the gradient of finite differences, with
 * gradient checkpointing too, and nothing of a model is left behind.
 */
export function modelFamilyKit(
  family: ModelFamily,
  { config, refused = [] }: ModelFamilyKitOptions,
): KitCheck[] {
  const { modelType } = family;
  const { check: plainCheck, fail, rejected } = kitOf(`model family "${modelType}"`);
  const raw: RawConfig = { initializer_range: 0.3, ...config, model_type: modelType };
  const open = () =>
    kitAttune([kitPlugin((context) => context.add(ModelFamilies, { ...family, modelType: own }))]);
  // Beside the built-in family of that name, if it is one.
  const own = `kit ${modelType}`;
  const check = (name: string, body: (model: CausalLM) => Promise<void> | void) =>
    plainCheck(name, async () => {
      await using attune = await open();
      await body(await kitModel(attune));
    });
  const kitModel = async (attune: Attune, config = raw): Promise<CausalLM> => {
    const model = await AutoModelForCausalLM.fromConfig(
      { ...config, model_type: own },
      { attune, seed: 1 },
    );
    // Biases and norms start at 0 and 1, where a forgotten one does not show.
    let n = 0;
    for (const [name, parameter] of model.root.namedParameters())
      if (parameter.shape.length === 1) move(parameter, () => 0.2 * Math.sin(++n + name.length));
    return model;
  };

  const near = (
    found: ArrayLike<number>,
    expected: ArrayLike<number>,
    what: string,
    remedy: string,
  ) => {
    const apart = distance(found, expected);
    if (!(apart <= 1e-9)) fail(`${what}: logits differ by ${apart}`, remedy);
  };

  return [
    check('a config that it cannot build is refused, with the key', async (model) => {
      const whole = logitsOf(model, TEXTS[0]);
      const facts = family.describe(raw, 'config.json');
      const refuses = async (changed: RawConfig, what: string) => {
        const error = await rejected(
          what,
          () => {
            family.describe(changed, 'config.json');
            family.build(new Engine(new ReferenceBackend()), changed, { dtype: 'float32' });
          },
          'Put the key into the schema, as a literal where one value alone is implemented.',
        );
        if (!AttuneError.isInstance(error) || error.code !== 'CONFIG_INVALID')
          fail(`${what} is refused with ${String(error)}`, 'Let the schema of config refuse it.');
      };
      await refuses({ model_type: modelType }, 'a config without sizes');
      for (const change of refused)
        await refuses({ ...raw, ...change }, `a config with ${JSON.stringify(change)}`);
      for (const [key, value] of Object.entries(raw)) {
        // How weights start is not the family's.
        if (typeof value !== 'number' || key === 'initializer_range') continue;
        const changed = { ...raw, [key]: 'a lot' };
        try {
          const same = isDeepStrictEqual(family.describe(changed, 'config.json'), facts);
          const other = await kitModel(model.attune, changed);
          if (same && distance(logitsOf(other, TEXTS[0]), whole) === 0) continue; // it is not read
        } catch (error) {
          if (!AttuneError.isInstance(error) || !error.message.includes(key))
            fail(
              `"${key}": "a lot" is refused without its name: ${String(error)}`,
              'Put the key into the schema of config.',
            );
          continue;
        }
        fail(`"${key}": "a lot" is taken`, 'Say in the schema that it is a number.');
      }
    }),
    check('its facts are those of the model that it builds', (model) => {
      const { engine, config: facts } = model;
      engine.noGrad(() =>
        engine.scope('facts', () => {
          const hidden = model.hiddenStates({ inputIds: row(model, TEXTS[0]) });
          const logits = model.head(hidden);
          const expected = {
            hiddenSize: hidden.shape[2],
            vocabSize: logits.shape[2],
            tieWordEmbeddings: ![...model.root.namedParameters()].some(([name]) =>
              /^lm_head\.weight$/.test(name),
            ),
          };
          for (const [fact, value] of Object.entries(expected)) {
            const said = facts[fact as keyof typeof expected];
            if (said !== value)
              fail(`${fact} is said to be ${said}, and is ${value}`, 'Give it in facts.');
          }
          const layers = new Set<number>();
          const cache = cacheFor(model, 1, 8);
          const { numKeyValueHeads, headDim, numHiddenLayers } = facts;
          model.hiddenStates({
            inputIds: row(model, TEXTS[0]),
            cache: {
              capacity: 8,
              length: 0,
              advance: () => undefined,
              append(layer, keys, values) {
                layers.add(layer);
                if (keys.shape[2] !== numKeyValueHeads || keys.shape[3] !== headDim)
                  fail(
                    `the keys of layer ${layer} are [${keys.shape}], the facts say ${numKeyValueHeads} heads of ${headDim}`,
                    'Give numKeyValueHeads and headDim in facts.',
                  );
                return cache.append(layer, keys, values);
              },
            },
          });
          cache.dispose();
          if (layers.size !== numHiddenLayers || Math.max(...layers) !== numHiddenLayers - 1)
            fail(
              `numHiddenLayers is ${numHiddenLayers}, and layers ${[...layers]} keep keys`,
              'Number layers from 0, and give numHiddenLayers in facts.',
            );
          const weight = model.headWeight();
          if (!weight) return;
          const flat = hidden.reshape(-1, facts.hiddenSize);
          near(
            valuesOf(flat.matmul(weight.permute(1, 0))),
            valuesOf(logits),
            'head and the product with headWeight',
            'Return null from headWeight where there is more to the head.',
          );
        }),
      );
    }),
    check('weights have the dtype that is asked for', async (model) => {
      const { attune } = model;
      const half = await AutoModelForCausalLM.fromConfig(
        { ...raw, model_type: own },
        { attune, dtype: 'bfloat16' },
      );
      for (const [name, { dtype }] of half.root.namedParameters())
        if (dtype !== 'bfloat16')
          fail(`${name} is ${dtype} in a model of bfloat16`, 'Hand options.dtype to every block.');
    }),
    check('saved and loaded, it is the same', (model) =>
      inFolder(async (folder) => {
        await model.savePretrained(folder);
        const loaded = await AutoModelForCausalLM.fromPretrained(folder, { attune: model.attune });
        const names = ({ root }: CausalLM) => [...root.namedParameters()].map(([name]) => name);
        if (!isDeepStrictEqual(names(loaded), names(model)))
          fail(`it is loaded with other parameters: ${names(loaded)}`, 'Names follow from config.');
        // Files are float32.
        const apart = distance(logitsOf(loaded, TEXTS[0]), logitsOf(model, TEXTS[0]));
        if (!(apart <= 1e-4))
          fail(`saved and loaded: logits differ by ${apart}`, 'Is every tensor a parameter?');
      }),
    ),
    check('a later token changes no earlier one, an earlier one does', (model) => {
      const ids = [...TEXTS[0]];
      const whole = logitsOf(model, ids);
      const { vocabSize } = model.config;
      const before = ids.slice(0, -1);
      near(
        logitsOf(model, before),
        whole.subarray(0, before.length * vocabSize),
        'without the last token',
        'Attention must be causal.',
      );
      const swapped = [...ids.slice(0, -3), ids.at(-2)!, ids.at(-3)!, ids.at(-1)!];
      const last = (logits: Float64Array) => logits.subarray(-vocabSize);
      if (distance(last(logitsOf(model, swapped)), last(whole)) < 1e-9)
        fail('the order of the tokens changes nothing', 'Use the positions of the input.');
    }),
    check('a row is the same alone, in a batch, padded on either side, and packed', (model) => {
      const [long, short] = TEXTS;
      const alone = TEXTS.map((text) => logitsOf(model, text));
      const pad = long.length - short.length;
      const padding = Array<number>(pad).fill(0);
      const zeros = [...padding];
      const counted = (text: readonly number[]) => text.map((_, t) => t);
      const { vocabSize } = model.config;
      const part = (logits: Float64Array, from: number, count: number) =>
        logits.subarray(from * vocabSize, (from + count) * vocabSize);
      const segment = (text: readonly number[], at: number) => text.map(() => at);
      const batch = (given: BatchInput) => forward(model, given);

      const right = batch({
        ids: [long, [...short, ...padding]],
        positions: [counted(long), [...counted(short), ...zeros]],
        segments: [segment(long, 0), [...segment(short, 0), ...padding.map(() => -1)]],
      });
      const remedy = 'Attend within segments, and take positions from the input.';
      near(part(right, 0, long.length), alone[0]!, 'in a batch', remedy);
      near(part(right, long.length, short.length), alone[1]!, 'padded on the right', remedy);
      const left = batch({
        ids: [long, [...padding, ...short]],
        positions: [counted(long), [...zeros, ...counted(short)]],
        segments: [segment(long, 1), [...zeros, ...segment(short, 1)]],
      });
      near(part(left, 0, long.length), alone[0]!, 'beside a row padded on the left', remedy);
      near(part(left, long.length + pad, short.length), alone[1]!, 'padded on the left', remedy);
      const packed = batch({
        ids: [[...short, ...long]],
        positions: [[...counted(short), ...counted(long)]],
        segments: [[...segment(short, 0), ...segment(long, 1)]],
      });
      near(part(packed, 0, short.length), alone[1]!, 'the first of two packed texts', remedy);
      near(part(packed, short.length, long.length), alone[0]!, 'the second of two', remedy);
    }),
    check('token by token through a cache, it is the whole at once', (model) => {
      const [long] = TEXTS;
      const { engine } = model;
      const whole = logitsOf(model, long);
      for (const prompt of [1, 4]) {
        const cache = cacheFor(model, 1, long.length);
        const parts = [long.slice(0, prompt), ...long.slice(prompt).map((id) => [id])];
        const found = parts.flatMap((ids) => [
          ...engine.noGrad(() =>
            engine.scope('token', () =>
              valuesOf(model.forward({ inputIds: row(model, ids), cache })),
            ),
          ),
        ]);
        cache.dispose();
        near(
          found,
          whole,
          `${prompt} tokens, then one by one`,
          'Append to input.cache in every layer, by its own number; positions go on.',
        );
      }
    }),
    check('every parameter has the gradient of finite differences', (model) => {
      const loss = () => someLoss(model);
      const found = gradientsOf(model.root, loss);
      for (const [name] of model.root.namedParameters())
        if (largest(found.get(name) ?? [0]) === 0)
          fail(`${name} gets no gradient`, 'Use it in hiddenStates, or do not make it.');
      for (const { name, analytic, numeric } of wrongGradients(model.root, loss, found))
        fail(
          `${name}: the tape says ${analytic}, differences say ${numeric}`,
          'Does something read its values, or detach?',
        );
      model.gradientCheckpointingEnable();
      for (const [name, gradient] of gradientsOf(model.root, loss))
        if (!(distance(gradient, found.get(name)!) <= 1e-9 * Math.max(1, largest(gradient))))
          fail(
            `${name} has another gradient with gradient checkpointing`,
            'Hand gradientCheckpointing to engine.checkpoint, layer by layer.',
          );
    }),
    plainCheck('nothing of a model is left behind', async () => {
      await using attune = await open();
      const { stats } = attune.backend;
      const before = stats.liveBytes;
      const model = await kitModel(attune);
      logitsOf(model, TEXTS[0]);
      model.root.dispose();
      if (stats.liveBytes !== before)
        fail(
          `${stats.liveBytes - before} bytes are left of a model that was disposed`,
          'Own tensors with addParameter or addBuffer.',
        );
    }),
  ];
}

interface BatchInput {
  readonly ids: readonly (readonly number[])[];
  readonly positions: readonly (readonly number[])[];
  readonly segments: readonly (readonly number[])[];
}

const row = ({ engine }: CausalLM, ids: readonly number[]): Tensor =>
  engine.tensor(ids, [1, ids.length], 'int32');

const valuesOfForward = (model: CausalLM, input: () => ForwardInput): Float64Array =>
  model.engine.noGrad(() => model.engine.scope('forward', () => valuesOf(model.forward(input()))));

const logitsOf = (model: CausalLM, ids: readonly number[]): Float64Array =>
  valuesOfForward(model, () => ({ inputIds: row(model, ids) }));

const forward = (model: CausalLM, { ids, positions, segments }: BatchInput): Float64Array =>
  valuesOfForward(model, () => {
    const matrix = (rows: readonly (readonly number[])[]) =>
      model.engine.tensor(rows.flat(), [rows.length, rows[0]!.length], 'int32');
    return { inputIds: matrix(ids), positions: matrix(positions), segments: matrix(segments) };
  });

/** Some loss of the logits: no element cancels another. */
function someLoss(model: CausalLM): Tensor {
  const out = model.forward({ inputIds: row(model, TEXTS[0]) }).logSoftmax();
  const weights = Float32Array.from({ length: out.size }, (_, i) => 0.5 + 0.5 * Math.sin(i));
  return out.mul(model.engine.tensor(weights, out.shape)).sum();
}

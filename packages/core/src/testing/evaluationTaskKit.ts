import { isDeepStrictEqual } from 'node:util';
import type { Attune } from '../attune.js';
import type { EvaluationTask, TaskMetrics } from '../evaluation/tasks/evaluationTask.js';
import { runEvaluationTask } from '../evaluation/tasks/evaluationTask.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';
import { camelToSnake, snakeToCamel } from '../util/json.js';
import { type KitCheck, kitOf } from './kit.js';
import { distance, valuesOf } from './numbers.js';
import { kitAttune, kitLlama, kitTokenizer } from './trainingKit.js';

/** Options of the kit for evaluation tasks. */
export interface EvaluationTaskKitOptions {
  /** A tiny model. Default: a Llama of 17 tokens, 64 positions and 8 features. */
  readonly model?: (attune: Attune) => Promise<LanguageModel>;
  /** Default: a token for each character, 17 of them. */
  readonly tokenizer?: TextTokenizer;
}

/**
 * What every evaluation task must do, as checks for any test framework:
 *
 *     for (const { name, run } of evaluationTaskKit(task)) test(name, run);
 *
 * Its name and those of its metrics survive the way into files. Its numbers are the same each time,
 * whatever goes through the model at once. It ends between batches when it is told to, and leaves
 * the model as it was. Give it a task of a few rows, of which one batch holds not all.
 */
export function evaluationTaskKit(
  task: EvaluationTask,
  { model: makeModel = kitLlama, tokenizer = kitTokenizer }: EvaluationTaskKitOptions = {},
): KitCheck[] {
  const { check: plainCheck, fail, rejected } = kitOf(`evaluation task "${task.name}"`);
  const check = (name: string, body: (model: LanguageModel) => Promise<void>) =>
    plainCheck(name, async () => {
      await using attune = await kitAttune();
      await body(await makeModel(attune));
    });
  const evaluate = (
    model: LanguageModel,
    batchSize: number,
    signal?: AbortSignal,
  ): Promise<TaskMetrics> =>
    runEvaluationTask(task, { model, tokenizer, batchSize, ...(signal && { signal }) });
  const weightsOf = ({ root }: LanguageModel) =>
    [...root.namedParameters()].map(([name, { tensor }]) => [name, valuesOf(tensor)] as const);

  return [
    check('its name and its metrics have names that files can hold', async (model) => {
      if (!/^[a-z][a-z0-9_]*$/.test(task.name))
        fail(`it is called "${task.name}"`, 'Use lower-case letters, digits and _.');
      const metrics = Object.entries(await evaluate(model, 2));
      if (metrics.length === 0) fail('it has no metrics', 'Give one number or more, by name.');
      for (const [name, value] of metrics) {
        if (typeof value !== 'number' || !Number.isFinite(value))
          fail(`${name} is ${value}`, 'Give finite numbers alone.');
        if (!/^[a-z]\w*$/i.test(name) || snakeToCamel(camelToSnake(name)) !== name)
          fail(`a metric is called "${name}"`, 'Name it in camelCase: acc, accNorm, exactMatch.');
      }
    }),
    check('its numbers are the same each time, for every batch size', async (model) => {
      const expected = await evaluate(model, 2);
      for (const batchSize of [2, 1, 64]) {
        const found = await evaluate(model, batchSize);
        const names = Object.keys(expected);
        const isSame =
          isDeepStrictEqual(Object.keys(found), names) &&
          names.every((name) => Math.abs(found[name]! - expected[name]!) <= 1e-9);
        if (!isSame)
          fail(
            `in batches of ${batchSize} it has ${JSON.stringify(found)}, of 2 ${JSON.stringify(expected)}`,
            'Nothing may depend on the batch, nor on what was drawn before.',
          );
      }
    }),
    check('it ends between batches when it is told to', async (model) => {
      const reason = new Error('told to stop');
      const remedy = 'Call signal?.throwIfAborted() before each batch; hand it to generate.';
      const stopped = AbortSignal.abort(reason);
      const error = await rejected(
        'a stop before it began',
        () => evaluate(model, 1, stopped),
        remedy,
      );
      if (error !== reason) fail(`a stop is answered with ${String(error)}`, remedy);
      // The first time that the model is asked, it is told to stop.
      const passesOf = async (controller: AbortController | null): Promise<number> => {
        let passes = 0;
        const { hiddenStates } = model;
        // Its own property, since it reaches itself within generate.
        Object.defineProperty(model, 'hiddenStates', {
          configurable: true,
          value: (...args: Parameters<typeof hiddenStates>) => {
            passes++;
            controller?.abort(reason);
            return hiddenStates.apply(model, args);
          },
        });
        try {
          await evaluate(model, 1, controller?.signal);
        } catch (error) {
          if (error !== reason) throw error;
        } finally {
          Reflect.deleteProperty(model, 'hiddenStates');
        }
        return passes;
      };
      const all = await passesOf(null);
      const some = await passesOf(new AbortController());
      if (all > 1 && some >= all)
        fail(`told to stop, it goes on for all ${all} passes through the model`, remedy);
    }),
    check('it leaves the model as it was', async (model) => {
      const { root, engine } = model;
      const before = weightsOf(model);
      for (const isTraining of [true, false]) {
        root.train(isTraining);
        const bytes = () => engine.backend.stats.liveBytes;
        const held = bytes();
        await evaluate(model, 2);
        if (root.training !== isTraining)
          fail('the model changes between training and not', 'Leave root.train alone.');
        if (bytes() !== held)
          fail(`${bytes() - held} bytes are left behind`, 'Dispose what inference returns.');
      }
      weightsOf(model).forEach(([name, values], i) => {
        if (distance(values, before[i]![1]) !== 0)
          fail(`${name} is another one afterwards`, 'A task measures; it trains nothing.');
      });
    }),
  ];
}

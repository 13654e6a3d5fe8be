import type { Attune } from '../attune.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';
import { Trainer } from '../trainer/trainer.js';
import type { HostBatch } from '../training/batch.js';
import type { Objective } from '../training/objective.js';
import { type ObjectiveDefinition, Objectives } from '../training/objectiveDefinition.js';
import type { EncodeContext, RowUse } from '../training/rowRules.js';
import { trainedRoot } from '../training/trainedRoot.js';
import { type Update, updatesOf } from '../training/updates.js';
import { upload } from '../training/upload.js';
import { silentLogger } from '../util/logger.js';
import { valuesOf } from './numbers.js';
import { kitLlama, kitPlugin } from './trainingKit.js';

/** Options of the kit for objectives. */
export interface ObjectiveKitOptions {
  /** Four rows or more, of different lengths, each of which becomes an example. */
  readonly rows: readonly object[];
  /** `objectiveOptions`, camelCase. Default none. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Other options, with each of which a run is another one. Default none. */
  readonly otherOptions?: readonly Readonly<Record<string, unknown>>[];
  /**
   * A tiny model, always with the same weights. Default: a Llama of 17 tokens, 64 positions and 8
   * features.
   */
  readonly model?: (attune: Attune) => Promise<LanguageModel>;
  /** For rows of text. Default none. */
  readonly tokenizer?: TextTokenizer;
  /**
   * Whether gradients are those of the whole formula. Default true; false, where a part of the loss
   * is held constant on purpose, leaves out the check by finite differences.
   */
  readonly exactGradients?: boolean;
}

/** A trainer with the objective, made by its name. */
export interface Made {
  readonly attune: Attune;
  readonly model: LanguageModel;
  readonly trainer: Trainer;
  readonly objective: Objective;
}

/** What the checks of objectives do with one. */
export function objectiveBench(
  definition: ObjectiveDefinition,
  kit: ObjectiveKitOptions,
  fail: (what: string, remedy: string) => never,
) {
  const { rows, model: makeModel = kitLlama, tokenizer } = kit;
  // Beside the built-in one of that name, if it is one.
  const own = `kit ${definition.name}`;
  const plugin = kitPlugin((context) => context.add(Objectives, { ...definition, name: own }));

  const unprepared = async (attune: Attune, args: object, options = kit.options): Promise<Made> => {
    const model = await makeModel(attune);
    const trainer = new Trainer({
      model,
      ...(tokenizer && { tokenizer }),
      objective: own,
      ...(options && { objectiveOptions: options }),
      trainDataset: rows,
      args: { perDeviceTrainBatchSize: 2, saveStrategy: 'no', weightDecay: 0.1, ...args } as object,
    });
    return { attune, model, trainer, objective: trainer.objective };
  };
  const make = async (...given: Parameters<typeof unprepared>): Promise<Made> => {
    const made = await unprepared(...given);
    if (made.objective.prepare) await made.trainer.planMemory(); // a trainer has it done once
    return made;
  };
  const encode = (made: Made, row: object, origin = 'kit.jsonl:7', use: RowUse = 'training') => {
    const context: EncodeContext = {
      model: made.model,
      tokenizer: tokenizer ?? null,
      origin,
      use,
    };
    return made.objective.rows?.encode
      ? made.objective.rows.encode(structuredClone(row), context).example
      : structuredClone(row);
  };
  const examplesOf = (made: Made): unknown[] =>
    rows.map((row, i) => {
      const example = encode(made, row);
      if (example === null) fail(`row ${i} becomes no example`, 'Give the kit rows that do.');
      return example;
    });
  /** What `updates` makes of these examples, in one micro-batch. */
  const updatesFor = async (
    { objective, model }: Made,
    examples: readonly unknown[],
    use: RowUse,
  ): Promise<Update[]> => {
    const { signal } = new AbortController();
    const facts = { model, step: 1, seed: 1, use, signal, logger: silentLogger } as const;
    const found: Update[] = [];
    const group = [objective.collate(examples)];
    for await (const update of updatesOf(objective, group, { ...facts, computeDType: 'float32' }))
      found.push(update);
    return found;
  };
  /** The micro-batch that an evaluation of these examples gives to the loss. */
  const batchOf = async (made: Made, examples: readonly unknown[]): Promise<HostBatch> => {
    const [first] = await updatesFor(made, examples, 'evaluation');
    return first!.batches[0]!;
  };
  const record = ({ objective, model }: Made, batch: HostBatch) =>
    objective.loss(model, upload(model.engine, batch, model));
  /** Loss, metrics and counts of a batch. */
  const measured = (made: Made, batch: HostBatch): Record<string, number> =>
    made.model.engine.noGrad(() =>
      made.model.engine.scope('measured', () => {
        const { loss, metrics = {}, extraItems = 0 } = record(made, batch);
        if (loss.size !== 1) fail(`the loss has ${loss.size} numbers`, 'Add it up: .sum().');
        const items = made.objective.countItems(batch);
        return {
          loss: valuesOf(loss)[0]!,
          items,
          extraItems,
          ...Object.fromEntries(
            Object.entries(metrics).flatMap(([name, { sum, count }]) => [
              [`the sum of ${name}`, valuesOf(sum)[0]!],
              [
                `the count of ${name}`,
                typeof count === 'object' ? valuesOf(count)[0]! : (count ?? items + extraItems),
              ],
            ]),
          ),
        };
      }),
    );
  const rootOf = ({ model, objective }: Made) => trainedRoot(model, objective);
  const lossOf = (made: Made, batch: HostBatch) => (): Tensor => record(made, batch).loss;

  return {
    plugin,
    unprepared,
    make,
    encode,
    examplesOf,
    updatesFor,
    batchOf,
    measured,
    rootOf,
    lossOf,
  };
}

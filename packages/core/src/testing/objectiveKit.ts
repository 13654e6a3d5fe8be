import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Dataset, type Row } from '../dataset/dataset.js';
import { numel } from '../tensor/shape.js';
import type { HostBatch } from '../training/batch.js';
import type { Objective } from '../training/objective.js';
import type { ObjectiveDefinition } from '../training/objectiveDefinition.js';
import { trainedRoot } from '../training/trainedRoot.js';
import { upload } from '../training/upload.js';
import { type KitCheck, kitOf } from './kit.js';
import { distance, gradientsOf, largest, valuesOf, wrongGradients } from './numbers.js';
import { type Made, type ObjectiveKitOptions, objectiveBench } from './objectiveBench.js';
import { inFolder, kitAttune } from './trainingKit.js';

/**
 * What every objective must do, as checks for any test framework:
 *
 *     for (const { name, run } of objectiveKit(definition, { rows })) test(name, run);
 *
 * Unknown options are refused, and rows that are none named. What it prepares leaves the model as
 * it was. Encoding and collating are pure, and batches are what they say. The loss is a SUM over
 * the items: split into micro-batches it has the loss, the metrics and the gradients of the whole;
 * gradients are those of finite differences, those of its own modules too; nothing that it records
 * is left behind. Each group gives the updates that are promised, with the arrays that `standIn`
 * has. A fingerprint tells options apart; a resumed run is bit for bit the uninterrupted one; the
 * plan is the memory that is taken.
 */
export function objectiveKit(
  definition: ObjectiveDefinition,
  kit: ObjectiveKitOptions,
): KitCheck[] {
  const { check: plainCheck, fail, rejected } = kitOf(`objective "${definition.name}"`);
  const { rows, exactGradients = true } = kit;
  const bench = objectiveBench(definition, kit, fail);
  const {
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
  } = bench;
  const check = (name: string, body: (made: Made) => Promise<void> | void) =>
    plainCheck(name, () =>
      inFolder(async (folder) => {
        await using attune = await kitAttune([plugin]);
        await body(await make(attune, { outputDir: join(folder, 'out') }));
      }),
    );

  return [
    plainCheck('what it prepares is beside the model, which stays as it was', () =>
      inFolder(async (folder) => {
        await using attune = await kitAttune([plugin]);
        const args = { outputDir: join(folder, 'out') };
        const { model, trainer, objective } = await unprepared(attune, args);
        if (!objective.prepare) return;
        const modelOf = () =>
          new Map(
            [...trainedRoot(model, objective).namedParameters()].map(
              ([path, { tensor, trainable }]) => [path, { trainable, values: valuesOf(tensor) }],
            ),
          );
        const before = modelOf();
        await trainer.evaluate(Dataset.from(rows as Row[]));
        const after = modelOf();
        for (const [path, was] of before)
          if (!isDeepStrictEqual(after.get(path), was))
            fail(`preparing changes ${path} of what is trained`, 'Make a copy, and change that.');
        for (const [path, { trainable }] of after)
          if (trainable && !before.has(path))
            fail(
              `preparing adds ${path} to what is trained`,
              'Freeze what it adds; give modules to train as `modules`.',
            );
      }),
    ),
    check('an option that it does not have is refused', async ({ attune }) => {
      await rejected(
        'an unknown option',
        () => make(attune, {}, { ...kit.options, 'no such option': 1 }),
        'Make options a z.strictObject({ ... }).',
      );
    }),
    check('a row that is none is named; encoding is pure', async (made) => {
      const { rows: rules = {} } = made.objective;
      for (const row of rows) {
        const frozen = structuredClone(row);
        const [once, again] = [encode(made, frozen), encode(made, frozen)];
        if (!isDeepStrictEqual(once, again))
          fail('a row becomes another example the second time', 'encode must be pure.');
        const length = rules.lengthOf?.(once);
        if (length !== undefined && !(Number.isInteger(length) && length >= 0))
          fail(`lengthOf gives ${length}`, 'Give a number of tokens.');
      }
      if (!rules.encode) return;
      const origin = 'a row of the kit:7';
      let example: unknown;
      try {
        example = encode(made, { 'no such column': [] }, origin);
      } catch (error) {
        if (!String((error as Error)?.message).includes(origin))
          fail(`the error of a bad row does not name it: ${error}`, 'Begin it with the origin.');
        return;
      }
      if (example !== null)
        fail('a row without any column is taken', 'Throw, with the origin, what is missing.');
    }),
    check('batches are what they say, and collating is pure', (made) => {
      const { objective } = made;
      const packed = objective.rows?.pack?.(examplesOf(made)) ?? [];
      if (packed.length > rows.length)
        fail(
          `pack makes ${packed.length} examples of ${rows.length}`,
          'Give fewer and fuller ones.',
        );
      for (const examples of [examplesOf(made), packed]) {
        if (examples.length === 0) continue;
        const before = structuredClone(examples);
        const [batch, again] = [objective.collate(examples), objective.collate(examples)];
        if (!isDeepStrictEqual(batch, again) || !isDeepStrictEqual(examples, before))
          fail('collate gives another batch the second time', 'collate must be pure.');
        for (const [name, { data, shape, dtype }] of Object.entries(batch)) {
          if (data.length !== numel(shape))
            fail(`${name} is said to be [${shape}], and has ${data.length} numbers`, 'Say so.');
          if (data instanceof Float32Array !== (dtype === 'float32'))
            fail(`${name} is said to be ${dtype}, and is a ${data.constructor.name}`, 'Say so.');
        }
        const items = objective.countItems(batch);
        if (!(items > 0 && Number.isFinite(items)))
          fail(`countItems gives ${items}`, 'Count what the loss sums over.');
      }
    }),
    check('the loss is a sum: micro-batches have that of the whole', async (made) => {
      const examples = examplesOf(made);
      const whole = await batchOf(made, examples);
      const parts: HostBatch[] = [];
      for (const at of [0, 1]) {
        const half = Math.ceil(examples.length / 2);
        parts.push(await batchOf(made, examples.slice(at * half, (at + 1) * half)));
      }
      const expected = measured(made, whole);
      const found = parts.map((part) => measured(made, part));
      for (const [name, value] of Object.entries(expected)) {
        const sum = found.reduce((n, part) => n + (part[name] ?? 0), 0);
        if (!Number.isFinite(value))
          fail(`${name} is ${value}`, 'Look for a division by zero, or a log of it.');
        if (!(Math.abs(sum - value) <= 1e-6 * Math.max(1, Math.abs(value))))
          fail(
            `${name} of the whole is ${value}, of two micro-batches ${sum}`,
            'Give sums, never means: the Trainer divides by the items of all micro-batches.',
          );
      }
      const gradients = gradientsOf(rootOf(made), lossOf(made, whole));
      const halves = parts.map((part) => gradientsOf(rootOf(made), lossOf(made, part)));
      for (const [name, gradient] of gradients) {
        const sum = gradient.map((_, i) =>
          halves.reduce((n, half) => n + (half.get(name)?.[i] ?? 0), 0),
        );
        if (!(distance(sum, gradient) <= 1e-6 * Math.max(1, largest(gradient))))
          fail(
            `the gradient of ${name} is another one in two micro-batches`,
            'No row may change what another one counts.',
          );
      }
      if (gradients.size === 0) fail('nothing gets a gradient', 'Does the loss detach all of it?');
    }),
    ...(exactGradients
      ? [
          check('its gradients are those of finite differences', async (made) => {
            const batch = await batchOf(made, examplesOf(made).slice(0, 2));
            for (const { name, analytic, numeric } of wrongGradients(
              rootOf(made),
              lossOf(made, batch),
            ))
              fail(
                `${name}: the tape says ${analytic}, differences say ${numeric}`,
                'Does the loss detach something?',
              );
          }),
        ]
      : []),
    check('nothing that the loss records is left behind', async (made) => {
      const { engine } = made.model;
      const batch = await batchOf(made, examplesOf(made));
      const bytes = () => engine.backend.stats.liveBytes;
      measured(made, batch);
      const before = bytes();
      measured(made, batch);
      await batchOf(made, examplesOf(made));
      if (bytes() !== before)
        fail(
          `${bytes() - before} bytes are left of a loss`,
          'Keep what must live longer once, and dispose it; the rest needs no engine.keep.',
        );
    }),
    check(
      'a group gives the updates that are promised, with the arrays of standIn',
      async (made) => {
        const { objective, model } = made;
        const { updatesPerGroup = 1 } = objective;
        const examples = examplesOf(made);
        const collated = objective.collate(examples);
        const stoodIn = shapesOf(objective.standIn?.(collated) ?? collated);
        const updates = await updatesFor(made, examples, 'training');
        if (updates.length !== updatesPerGroup)
          fail(
            `a group gives ${updates.length} updates, updatesPerGroup is ${updatesPerGroup}`,
            'Say with updatesPerGroup how many there are.',
          );
        for (const { batches } of updates)
          for (const batch of batches) {
            const shapes = shapesOf(batch);
            for (const name of Object.keys(shapes))
              if (!isDeepStrictEqual(shapes[name], stoodIn[name]))
                fail(
                  `updates give "${name}" ${shapes[name]}, standIn ${stoodIn[name]}`,
                  'standIn adds what updates adds: the same names, shapes and dtypes.',
                );
            measured(made, batch);
          }
        const { prediction } = objective;
        if (!prediction) return;
        const batch = await batchOf(made, examples);
        const outputs = model.engine.noGrad(() =>
          model.engine.scope('outputs', () => {
            const found = prediction.outputs(model, upload(model.engine, batch, model));
            return found.shape[0];
          }),
        );
        const labels = prediction.labelIds(batch).shape[0];
        if (outputs !== labels)
          fail(`${outputs} outputs have ${labels} labels`, 'Give both along the first axis.');
      },
    ),
    check('an evaluation is the sum by its items', async (made) => {
      const { trainer } = made;
      const examples = examplesOf(made);
      const { loss, items, extraItems } = measured(made, await batchOf(made, examples));
      const { evalLoss } = await trainer.evaluate(Dataset.from(rows as Row[]));
      const expected = loss! / (items! + extraItems!);
      if (!(Math.abs(evalLoss - expected) <= 1e-6 * Math.max(1, Math.abs(expected))))
        fail(`evalLoss is ${evalLoss}, expected ${expected}`, 'Is it the same in eval mode?');
    }),
    check('its fingerprint is JSON, and tells options apart', async ({ attune, objective }) => {
      const printOf = ({ fingerprint = {}, rows: rules }: Objective) => ({
        ...rules?.fingerprint,
        ...fingerprint,
      });
      const print = printOf(objective);
      if (!isDeepStrictEqual(JSON.parse(JSON.stringify(print)), print))
        fail(`its fingerprint is ${JSON.stringify(print)} as JSON`, 'Give plain values.');
      for (const options of kit.otherOptions ?? []) {
        const { objective: other } = await make(attune, {}, options);
        if (isDeepStrictEqual(printOf(other), print))
          fail(
            `with ${JSON.stringify(options)} it has the same fingerprint`,
            'Put what defines the loss into fingerprint: another run must not go on from this one.',
          );
      }
    }),
    plainCheck(
      'a resumed run is bit for bit the uninterrupted one, in the memory of the plan',
      () =>
        inFolder(async (folder) => {
          const run = async (name: string, args: object) => {
            await using attune = await kitAttune([plugin], 'float32');
            const made = await make(attune, {
              outputDir: join(folder, name),
              learningRate: 0.01,
              lrSchedulerType: 'constant',
              maxSteps: 4,
              ...args,
            });
            const { trainer, model, objective } = made;
            const { peakBytes } = await trainer.planMemory();
            const { stats } = attune.backend;
            stats.peakBytes = stats.liveBytes;
            await trainer.train();
            // updates may hold more while they wait, which a plan does not see.
            if (!objective.updates && stats.peakBytes !== peakBytes)
              fail(
                `the plan says ${peakBytes} bytes, ${stats.peakBytes} are taken`,
                'What loss records may depend on the shapes of the batch alone.',
              );
            const weights = [...trainedRoot(model, objective).namedParameters()].map(
              ([path, { tensor }]) => [path, valuesOf(tensor)] as const,
            );
            const tensors = Object.entries(objective.state?.tensors ?? {}).map(
              ([path, tensor]) => [`state ${path}`, valuesOf(tensor)] as const,
            );
            const values = structuredClone(objective.state?.values ?? {});
            return { numbers: [...weights, ...tensors], values };
          };
          const whole = await run('whole', {});
          await run('halves', { maxSteps: 2, saveStrategy: 'steps', saveSteps: 2 });
          const resumed = await run('halves', { resumeFromCheckpoint: true });
          const remedy = 'Put what changes into modules and state; draw from context.seed.';
          whole.numbers.forEach(([path, values], i) => {
            const apart = distance(values, resumed.numbers[i]![1]);
            if (apart !== 0) fail(`resumed, ${path} differs by ${apart}`, remedy);
          });
          if (!isDeepStrictEqual(resumed.values, whole.values))
            fail(
              `resumed, its state is ${JSON.stringify(resumed.values)}, not ${JSON.stringify(whole.values)}`,
              remedy,
            );
        }),
    ),
  ];
}

const shapesOf = (batch: HostBatch): Record<string, string> =>
  Object.fromEntries(
    Object.entries(batch).map(([name, { shape, dtype }]) => [name, `${dtype} [${shape}]`]),
  );

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Attune, AttuneError } from '@attune/core';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { PeftMethod } from '../contract/methodKinds.js';
import type { PeftConfigInput } from '../methods/peftConfigInput.js';
import { getPeftModel } from '../model/getPeftModel.js';
import { PeftModel } from '../model/peftModel.js';
import {
  disturb,
  gradients,
  kitModel,
  logits,
  loss,
  move,
  openFor,
  reference,
  trained,
} from './kitModel.js';

const kitShape = {
  /** Options of the method, e.g. `{ targetModules: ['q_proj'] }`. Default none. */
  config: z.custom<Readonly<Record<string, unknown>>>().optional().meta({ aka: 'options' }),
  /**
   * Changes to the config.json of the model: a Qwen2 of two layers and 16 features. Default none.
   */
  model: z.custom<object>().default({}),
  /**
   * Whether a new adapter leaves the logits as they were. Default true; false leaves the check out.
   */
  zeroAtStart: z.boolean().default(true),
  /**
   * Whether gradients are those of the whole formula. Default true; false, for a method that holds
   * a part of it constant on purpose (DoRA's norm), leaves out the check by finite differences.
   */
  exactGradients: z.boolean().default(true),
};
const kitOptions = z.strictObject(kitShape);

/** Options of {@link peftMethodKit}. */
export type PeftKitOptions = OptionsInput<typeof kitShape>;

/** One property. `run` rejects with PEFT_KIT when the method does not have it. */
export interface PeftCheck {
  readonly name: string;
  run(): Promise<void>;
}

/**
 * What every PEFT method must do, as checks for any test framework, on the reference backend in
 * float64:
 *
 *     for (const { name, run } of peftMethodKit(method, { config })) test(name, run);
 *
 * It starts as the base; its own parameters alone get gradients, those of finite differences, also
 * with gradient checkpointing; saved and loaded it is the same; merged it is the same, or it is
 * PEFT_NOT_MERGEABLE; it trains on a base of 4 bits, or is PEFT_QUANTIZED; it goes together with
 * other adapters, in one batch too, and leaves nothing behind.
 */
export function peftMethodKit(method: PeftMethod, options: PeftKitOptions = {}): PeftCheck[] {
  const {
    zeroAtStart,
    exactGradients,
    model: changes,
    config: given,
  } = parseOptions(kitOptions, options, { where: 'peftMethodKit' });
  const { peftType } = method;
  const config = { ...given, peftType } as object as PeftConfigInput;
  const fail = (what: string, remedy: string): never => {
    throw new AttuneError('PEFT_KIT', `${peftType}: ${what}.`, { remedy });
  };
  const same = (a: Float64Array, b: Float64Array, tolerance: number, what: string) => {
    const worst = largest(a.map((value, i) => value - b[i]!));
    if (!(worst <= tolerance))
      fail(
        `${what}: they differ by ${worst}, more than ${tolerance}`,
        'Compare the formulas of forward, params and mergedWeight.',
      );
  };
  const differ = (a: Float64Array, b: Float64Array, what: string) => {
    if (!(largest(a.map((value, i) => value - b[i]!)) > 1e-6))
      fail(`${what} changes nothing`, 'forward must depend on every parameter.');
  };
  const check = (name: string, body: (attune: Attune) => Promise<void>): PeftCheck => ({
    name: `${peftType}: ${name}`,
    run: async () => {
      await using attune = await openFor(method);
      await body(attune);
    },
  });

  const atStart = check('a new adapter leaves the logits as they were', async (attune) => {
    const base = await kitModel(attune, changes);
    const before = logits(base);
    same(logits(getPeftModel(base, config)), before, 0, 'the base and a new adapter');
  });

  const byDifferences = check('its gradients are those of finite differences', async (attune) => {
    const model = getPeftModel(await kitModel(attune, changes), config);
    disturb(model);
    const found = gradients(model);
    const value = () =>
      model.engine.noGrad(() =>
        model.engine.scope('loss', () => {
          const out = loss(model);
          return reference(out).peek(out.operand)[0]!;
        }),
      );
    for (const [name, parameter] of trained(model)) {
      const along = (i: number) => Math.cos(3 * i + 1);
      const h = 1e-5;
      move(parameter, (i) => h * along(i));
      const above = value();
      move(parameter, (i) => -2 * h * along(i));
      const below = value();
      move(parameter, (i) => h * along(i));
      const numeric = (above - below) / (2 * h);
      const gradient = found.get(name)!;
      const analytic = gradient.reduce((sum, g, i) => sum + g * along(i), 0);
      const scale = Math.max(1e-3, Math.abs(numeric), largest(gradient));
      if (!(Math.abs(analytic - numeric) <= 1e-5 * scale))
        fail(
          `${name}: the tape says ${analytic}, differences say ${numeric}`,
          'Does forward detach something, or draw random numbers while the model does not train?',
        );
    }
  });

  return [
    ...(zeroAtStart ? [atStart] : []),

    check('its own parameters alone are trained, and all of them count', async (attune) => {
      const base = await kitModel(attune, changes);
      const own = new Set([...base.root.namedParameters()].map(([, parameter]) => parameter));
      const model = getPeftModel(base, config);
      const parameters = trained(model);
      if (parameters.size === 0)
        fail('nothing is trained', 'params or select must give something.');
      for (const [name, parameter] of parameters)
        if (own.has(parameter)) fail(`${name} of the base is trained`, 'Train a copy: select.');
      disturb(model);
      const found = gradients(model);
      for (const name of parameters.keys())
        if (!found.has(name) || largest(found.get(name)!) === 0)
          fail(`${name} gets no gradient`, 'forward must use every parameter of params.');
      for (const name of found.keys())
        if (!parameters.has(name))
          fail(`${name} gets a gradient`, 'It is frozen: read it as it is.');
    }),

    ...(exactGradients ? [byDifferences] : []),

    check('gradient checkpointing gives the same gradients', async (attune) => {
      const model = getPeftModel(await kitModel(attune, changes), config);
      disturb(model);
      const plain = gradients(model);
      model.gradientCheckpointingEnable();
      const again = gradients(model);
      for (const [name, gradient] of plain)
        same(gradient, again.get(name)!, 1e-9, `${name} with gradient checkpointing and without`);
    }),

    check('saved and loaded, it is the same', async (attune) => {
      const folder = await mkdtemp(join(tmpdir(), 'peft-kit-'));
      try {
        const model = getPeftModel(await kitModel(attune, changes), config);
        disturb(model);
        await model.savePretrained(join(folder, 'a'));
        const other = await kitModel(attune, changes);
        const loaded = await PeftModel.fromPretrained(other, join(folder, 'a'));
        // Files are float32.
        same(logits(loaded), logits(model), 1e-4, 'the saved adapter and the loaded one');
        await loaded.savePretrained(join(folder, 'b'));
        for (const file of ['adapter_config.json', 'adapter_model.safetensors']) {
          const [a, b] = await Promise.all(
            ['a', 'b'].map((part) => readFile(join(folder, part, file))),
          );
          if (!a!.equals(b!)) fail(`${file} changes when it is saved again`, 'Compare the files.');
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    }),

    check('merged, it is the same, or it says that it cannot be merged', async (attune) => {
      const base = await kitModel(attune, changes);
      const before = logits(base);
      const model = getPeftModel(base, config);
      disturb(model);
      const adapted = logits(model);
      differ(adapted, before, 'the adapter');
      const isMerged = await model.mergeAdapter().then(
        () => true,
        (error: unknown) => {
          if (error instanceof AttuneError && error.code === 'PEFT_NOT_MERGEABLE') return false;
          throw error;
        },
      );
      same(logits(model), adapted, isMerged ? 1e-5 : 0, 'merged and adapted');
      if (isMerged) model.unmergeAdapter();
      const after = await model.withAdaptersDisabled(() => logits(model));
      same(after, before, 1e-4, 'the base before and after'); // kept as float32
    }),

    check('on a base of 4 bits it trains, or says that it cannot', async (attune) => {
      const base = await kitModel(attune, changes, true);
      const before = logits(base);
      let model: PeftModel;
      try {
        model = getPeftModel(base, config);
      } catch (error) {
        if (error instanceof AttuneError && error.code === 'PEFT_QUANTIZED') return;
        throw error;
      }
      if (zeroAtStart) same(logits(model), before, 0, 'a base of 4 bits and a new adapter');
      disturb(model);
      differ(logits(model), before, 'the adapter on a base of 4 bits');
      const found = gradients(model);
      for (const name of trained(model).keys())
        if (!found.has(name)) fail(`${name} gets no gradient`, 'Call base(x), read no weight.');
      same(await model.withAdaptersDisabled(() => logits(model)), before, 0, 'disabled and base');
    }),

    check('it goes together with others, and leaves nothing behind', async (attune) => {
      const base = await kitModel(attune, changes);
      const before = logits(base);
      const paths = () => [...base.root.namedModules()].map(([path]) => path).join();
      const modules = paths();
      const model = getPeftModel(base, config, 'first');
      disturb(model);
      const first = logits(model);
      model.addAdapter('second', config);
      model.setAdapter('second');
      disturb(model, 5);
      const second = logits(model);
      differ(first, second, 'another adapter of the method');
      model.addAdapter('lora', { peftType: 'LORA', r: 2, targetModules: 'all-linear' });
      model.setAdapter('lora');
      disturb(model, 9);
      const lora = logits(model);
      model.setAdapter(['first', 'lora']);
      differ(logits(model), first, 'LoRA beside it');
      differ(logits(model), lora, 'the adapter beside LoRA');
      model.setAdapter('first');
      same(logits(model), first, 0, 'the adapter before and after switching');
      model.deleteAdapter('first');
      model.setAdapter('second');
      same(logits(model), second, 0, 'the second before and after the first was deleted');
      same(logits(model.unload()), before, 0, 'the base before and after');
      if (paths() !== modules) fail('unload leaves modules behind', 'Compare namedModules().');
    }),

    check('rows have adapters of their own, or it says that they cannot', async (attune) => {
      const model = getPeftModel(await kitModel(attune, changes), config, 'first');
      disturb(model);
      const first = logits(model);
      model.addAdapter('second', config);
      model.setAdapter('second');
      disturb(model, 5);
      const second = logits(model);
      const half = first.length / 2;
      let rows: Float64Array;
      try {
        rows = model.withAdapterPerRow(['first', 'second'], () => logits(model));
      } catch (error) {
        if (error instanceof AttuneError && error.code === 'PEFT_ROWS') return;
        throw error;
      }
      same(
        rows.subarray(0, half),
        first.subarray(0, half),
        1e-6,
        'a row of two and of one adapter',
      );
      same(rows.subarray(half), second.subarray(half), 1e-6, 'a row of two and of one adapter');
    }),
  ];
}

const largest = (values: Float64Array): number =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

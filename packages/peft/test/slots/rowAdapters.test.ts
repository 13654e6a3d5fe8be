import { getPeftModel, type PeftConfigInput, type PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { rowRuns } from '../../src/slots/rowAdapters.js';
import { disturb, largestDifference, load, logits, open } from '../support.js';

const lora = { peftType: 'LORA', r: 4, loraAlpha: 8, targetModules: ['q_proj', 'v_proj'] } as const;

const configs = {
  plain: lora,
  wide: { ...lora, r: 6, useRslora: true, targetModules: 'all-linear' },
  ends: { ...lora, targetModules: ['embed_tokens', 'lm_head'] },
  dora: { ...lora, useDora: true, loraDropout: 0.1 },
  pissa: { ...lora, initLoraWeights: 'pissa' },
  ia3: { peftType: 'IA3' },
  vera: { peftType: 'VERA', r: 8 },
  blocks: { peftType: 'ADAPTER', variant: 'houlsby', bottleneckSize: 4 },
} satisfies Record<string, PeftConfigInput>;

async function several(
  chosen: Readonly<Record<string, PeftConfigInput>> = configs,
  base = 'tiny-llama',
) {
  const attune = await open();
  const model = getPeftModel(
    await load(attune, base),
    Object.values(chosen)[0]!,
    Object.keys(chosen)[0],
  );
  for (const [name, config] of Object.entries(chosen).slice(1)) model.addAdapter(name, config);
  for (const name of Object.keys(chosen)) {
    model.setAdapter(name);
    await model.ready();
    disturb(model);
  }
  return model;
}

/** Each row by itself, with its adapter alone. */
async function alone(model: PeftModel, names: readonly string[], rows: readonly number[][]) {
  const results: number[] = [];
  for (const [i, name] of names.entries()) {
    if (name !== '__base__') model.setAdapter(name);
    const run = () => logits(model, [rows[i]!]);
    results.push(...(name === '__base__' ? await model.withAdaptersDisabled(run) : await run()));
  }
  return results;
}

const rowsOf = (count: number) =>
  Array.from({ length: count }, (_, i) => [5 + i, 9, 40 - i, 7, 100 + 3 * i]);

describe('an adapter for each row', () => {
  const orders = [
    Object.keys(configs),
    ['plain', 'plain', '__base__', 'wide', 'plain', '__base__', '__base__'],
    ['ends', 'dora', 'ends', '__base__'],
    ['__base__', '__base__'],
    ['ia3'],
  ];
  test('computes what each row computes by itself', async () => {
    const model = await several();
    for (const names of orders) {
      const rows = rowsOf(names.length);
      const expected = await alone(model, names, rows);
      model.setAdapter('vera');
      const together = await model.withAdapterPerRow(names, () => logits(model, rows));
      expect(largestDifference(together, expected), names.join()).toBeLessThan(1e-6);
    }
    // The rows do not matter any more; and what was active is.
    const active = await logits(model);
    expect(model.activeAdapters).toEqual(['vera']);
    model.setAdapter('plain');
    expect(await logits(model)).not.toEqual(active);
  });

  test('on a tied head, a quantised base and GPT-2', async () => {
    const chosen = { a: { ...lora, targetModules: ['embed_tokens', 'v_proj'] }, b: lora };
    const gpt = {
      a: { ...lora, targetModules: ['wte', 'c_attn'] },
      b: { ...lora, targetModules: ['c_proj'] },
    };
    for (const [base, adapters] of [
      ['tiny-qwen2', chosen],
      ['tiny-llama-tied-nf4', chosen],
      ['tiny-gpt2', gpt],
    ] as const) {
      const model = await several(adapters, base);
      const names = ['b', 'a', '__base__'];
      const expected = await alone(model, names, rowsOf(3));
      const together = await model.withAdapterPerRow(names, () => logits(model, rowsOf(3)));
      expect(largestDifference(together, expected), base).toBeLessThan(1e-5);
    }
  });

  test('generates: prompts of unequal lengths, greedily, with beams, with and without a cache', async () => {
    const model = await several({ plain: configs.plain, wide: configs.wide, ends: configs.ends });
    const names = ['wide', '__base__', 'ends', 'plain'];
    const inputIds = [
      [5, 9, 2],
      [7, 30],
      [5, 9, 2],
      [5, 9, 2, 40, 41],
    ];
    for (const options of [{}, { useCache: false }, { numBeams: 3, numReturnSequences: 2 }]) {
      const settings = { maxNewTokens: 8, eosTokenId: null, ...options };
      const { sequences } = await model.generate({ ...settings, inputIds, adapterNames: names });
      const expected: number[][] = [];
      for (const [i, name] of names.entries()) {
        if (name !== '__base__') model.setAdapter(name);
        const run = () => model.generate({ ...settings, inputIds: [inputIds[i]!] });
        const one = name === '__base__' ? model.withAdaptersDisabled(run) : run();
        expected.push(...(await one).sequences);
      }
      expect(sequences).toEqual(expected);
      expect(new Set(sequences.map((row) => row.join())).size).toBeGreaterThan(3);
    }
    // Several samples of a prompt have the prompt's adapter.
    const sampled = await model.generate({
      inputIds: inputIds.slice(0, 2),
      adapterNames: ['plain', '__base__'],
      doSample: true,
      topK: 1,
      numReturnSequences: 2,
      maxNewTokens: 5,
    });
    model.setAdapter('plain');
    const greedy = await model.generate({ inputIds: [inputIds[0]!], maxNewTokens: 5 });
    expect(sampled.sequences[0]).toEqual(greedy.sequences[0]);
    expect(sampled.sequences[1]).toEqual(greedy.sequences[0]);
  });

  test('leaves nothing behind, and is off after an error', async () => {
    const model = await several({ plain: configs.plain, ends: configs.ends });
    const live = model.engine.liveTensors;
    await model.withAdapterPerRow(['plain', 'ends'], () => logits(model, rowsOf(2)));
    expect(model.engine.liveTensors).toBe(live);
    const before = await logits(model);
    expect(() =>
      model.withAdapterPerRow(['plain'], () => {
        throw new Error('no');
      }),
    ).toThrow('no');
    await expect(
      model.withAdapterPerRow(['plain'], () => Promise.reject(new Error('no'))),
    ).rejects.toThrow('no');
    expect(await logits(model)).toEqual(before);
  });

  test('mistakes', async () => {
    const model = await several({
      plain: configs.plain,
      head: { ...lora, modulesToSave: ['lm_head'] },
      layers: { peftType: 'LAYER_SELECT', lastLayers: 1 },
    });
    const run = (names: readonly string[], rows = names.length) =>
      model.withAdapterPerRow(names, () => logits(model, rowsOf(rows)));
    await expect(run(['plain', '__base__'], 3)).rejects.toThrow(
      /PEFT_ROWS: there are 2 adapter names, and the batch is \[3, 5/,
    );
    expect(() => run(['plane'])).toThrow(/PEFT_ADAPTER_UNKNOWN: there is no adapter "plane"/);
    expect(() => run(['plain', 'head'])).toThrow(
      /PEFT_ROWS: "head" \(LORA\) trains lm_head itself/,
    );
    expect(() => run(['layers'])).toThrow(
      /PEFT_ROWS: "layers" \(LAYER_SELECT\) trains model\.layers/,
    );
    expect(() =>
      model.withAdapterPerRow(['plain'], () => model.withAdapterPerRow(['plain'], () => 0)),
    ).toThrow(/PEFT_ROWS: the rows of this model have adapters already/);
    model.root.train();
    await expect(run(['plain'])).rejects.toThrow(/PEFT_ROWS: .* is for inference/);
    model.root.eval();
    await expect(
      model.generate({ inputIds: [[5], [6]], adapterNames: ['plain'], maxNewTokens: 1 }),
    ).rejects.toThrow(/GENERATE_OPTION: generate: adapterNames .*2 names, one for each prompt/);
    await expect(
      model.generateStream({ inputIds: [5], adapterNames: ['plain'] }).next(),
    ).rejects.toThrow(/generateStream: adapterNames/);
    model.setAdapter('plain');
    await model.mergeAdapter();
    expect(() => run(['plain'])).toThrow(/PEFT_MERGED/);
    const bare = model.unload();
    await expect(
      bare.generate({ inputIds: [5], adapterNames: ['plain'], maxNewTokens: 1 }),
    ).rejects.toThrow(/adapterNames were given, and the model has no adapters/);
  });
});

test('neighbours compute together, and layers without an adapter are one run', () => {
  const names = ['a', 'a', 'b', '__base__', 'c', 'a'];
  expect(rowRuns(names, (name) => name !== '__base__' && name !== 'c')).toEqual([
    { adapter: 'a', start: 0, end: 2 },
    { adapter: 'b', start: 2, end: 3 },
    { adapter: null, start: 3, end: 5 },
    { adapter: 'a', start: 5, end: 6 },
  ]);
});

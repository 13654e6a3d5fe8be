import { readdirSync } from 'node:fs';
import { AutoModelForCausalLM, createAttune, ops, silentLogger } from '@attune/core';
// The adapters of some runs are PEFT's: this test crosses the rooms on purpose.
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { fixture, fixtureJson } from '../packages/core/test/models/support.js';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
} from '../packages/core/test/trainer/recordedRun.js';

// nn.Embedding has the padding token's row as `padding_idx` (all families but GPT-2): looking it up
// gives no gradient, wherever that token stands. parity/rows_padding.py: transformers' Trainer,
// PEFT, ten updates each.

const open = () => createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });

describe('runs whose rows hold the padding token', () => {
  const { rows } = fixtureJson('padding/rows.json');
  const names = readdirSync(fixture('padding')).filter((name) => name !== 'rows.json');
  test.each(names)('%s', async (name) => {
    const { settings, trace, endRowNorm } = fixtureJson(`padding/${name}/run.json`);
    await using attune = await open();
    const base = await AutoModelForCausalLM.fromPretrained(fixture(`padding/${name}`), { attune });
    const isAdapted = readdirSync(fixture(`padding/${name}`)).includes('initial');
    const model = isAdapted
      ? await PeftModel.fromPretrained(base, fixture(`padding/${name}/initial`), {
          isTrainable: true,
        })
      : base;
    const logs = await updatesOf(
      model,
      { trainDataset: rows },
      { ...argumentsOf(settings), preflight: 'off' },
    );
    expectUpdates(logs, trace, { loss: 1e-5, gradNorm: 1e-5 });
    if (isAdapted) return;
    const [, table] = [...model.root.namedParameters()].find(([path]) =>
      path.endsWith('embed_tokens.weight'),
    )!;
    const width = table.shape[1]!;
    const row = (await table.tensor.data()).slice(2 * width, 3 * width);
    expect(Math.hypot(...row)).toBeCloseTo(endRowNorm, 5);
  });
});

const llama = {
  model_type: 'llama',
  vocab_size: 9,
  hidden_size: 8,
  intermediate_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 1,
  max_position_embeddings: 16,
};

describe('which row it is', () => {
  test.each([
    ['the id', { pad_token_id: 4 }, 4],
    ['a negative id counts from the end, as in torch', { pad_token_id: -1 }, 8],
    ['none', {}, null],
    ['null', { pad_token_id: null }, null],
    ['an id beyond the table is no row', { pad_token_id: 9 }, null],
    ['a negative one beyond it', { pad_token_id: -10 }, null],
    ["Gemma's default", { model_type: 'gemma', head_dim: 8 }, 0],
    ["Gemma 2's default", { model_type: 'gemma2', head_dim: 8 }, 0],
    ["Gemma 3's default", { model_type: 'gemma3_text', head_dim: 8 }, 0],
    ['Gemma without one', { model_type: 'gemma', head_dim: 8, pad_token_id: null }, null],
    ["SmolLM3's default is beyond this table", { model_type: 'smollm3' }, null],
    ["Phi-3's default is beyond this table", { model_type: 'phi3' }, null],
    ['Phi-3', { model_type: 'phi3', pad_token_id: 5 }, 5],
    ['Qwen3', { model_type: 'qwen3', pad_token_id: 5, head_dim: 8 }, 5],
    ['Mistral', { model_type: 'mistral', pad_token_id: 5 }, 5],
  ] as const)('%s', async (_, changes, expected) => {
    await using attune = await open();
    const model = await AutoModelForCausalLM.fromConfig({ ...llama, ...changes }, { attune });
    const table = model.root.submodule('model.embed_tokens') as { paddingIdx?: number | null };
    expect(table.paddingIdx).toBe(expected);
    // A new model begins with 0 there, as transformers initialises it.
    const data = await [...model.root.namedParameters()][0]![1].tensor.data();
    const zeroRows = [0, 1, 2, 3, 4, 5, 6, 7, 8].filter((i) =>
      data.slice(8 * i, 8 * i + 8).every((v) => v === 0),
    );
    expect(zeroRows).toEqual(expected === null ? [] : [expected]);
  });
});

test("GPT-2's table has no such row", async () => {
  await using attune = await open();
  const config = {
    model_type: 'gpt2',
    vocab_size: 9,
    n_embd: 8,
    n_layer: 1,
    n_head: 1,
    n_positions: 16,
    pad_token_id: 4,
  };
  const { root } = await AutoModelForCausalLM.fromConfig(config, { attune });
  expect(root.submodule('transformer.wte')).toMatchObject({ paddingIdx: null });
});

test('the gradient of the other rows is as without it, and that of a product with the table is whole', async () => {
  await using attune = await open();
  const { engine } = attune;
  const gradient = async (paddingIdx: number | null) => {
    const weight = engine.tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    weight.requiresGrad = true;
    const ids = engine.tensor([0, 1, 2, 1], [4], 'int32');
    engine.scope('step', () => {
      const rows = ops.embedding(weight, ids, { paddingIdx });
      engine.backward(rows.matmul(weight, { transposeB: true }).sum());
    });
    return [...(await weight.grad!.data())];
  };
  // The gradient of sum(E[ids] E^T): each row gets the sum of the rows that were looked up, (12,
  // 16); and for each time that it was looked up the sum of all rows, (9, 12).
  expect(await gradient(null)).toEqual([21, 28, 30, 40, 21, 28]);
  expect(await gradient(1)).toEqual([21, 28, 12, 16, 21, 28]);
});

test('an adapter of the embedding does not train the row either', async () => {
  await using attune = await open();
  const base = await AutoModelForCausalLM.fromConfig({ ...llama, pad_token_id: 4 }, { attune });
  const model = getPeftModel(base, { peftType: 'LORA', r: 2, targetModules: ['embed_tokens'] });
  const { engine } = model;
  engine.scope('step', () => {
    const inputIds = engine.tensor([4, 3, 4, 5], [1, 4], 'int32');
    engine.backward(model.forward({ inputIds }).sum());
  });
  const parameters = new Map(model.root.namedParameters());
  const a = parameters.get('model.embed_tokens.lora_embedding_A.default')!; // [r, V]
  const gradient = [...(await a.tensor.grad!.data())];
  const columns = Array.from({ length: 9 }, (_, v) => v).filter((v) => gradient[v] !== 0);
  expect(columns).toEqual([3, 5]);
});

import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { chooseAdapter, createDawnBackend, DawnBackend } from '@attune/backend-dawn';
import { AttuneError, AutoModelForCausalLM, Engine, SFTTrainer } from '@attune/core';
import type { BackendStats } from '@attune/core/backend';
import { describe, expect, test } from 'vitest';
import { fixture, onDawn, temporaryFolder } from './support.js';

/** Rows of one length, so that every step has the same shapes. */
const rows = (count: number) =>
  Array.from({ length: count }, (_, r) => {
    const ids = Array.from({ length: 24 }, (_, i) => (r * 31 + i * 7) % 250);
    return { input_ids: ids, labels: ids };
  });

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

interface Run {
  readonly losses: number[];
  readonly stats: BackendStats[];
  readonly heap: number[];
}

/** LoRA on the tiny Llama; a look at losses, counters and heap after every update. */
async function train(
  steps: number,
  options: { loggingSteps?: number; dropout?: number; checkpointed?: boolean } = {},
): Promise<Run> {
  await using attune = await onDawn();
  const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
    attune,
    dtype: 'float32',
  });
  const run: Run = { losses: [], stats: [], heap: [] };
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows(16),
    peftConfig: {
      peftType: 'LORA',
      r: 4,
      targetModules: ['q_proj', 'v_proj'],
      loraDropout: options.dropout ?? 0,
    },
    args: {
      outputDir: temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: steps,
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 2,
      learningRate: 1e-3,
      loggingSteps: options.loggingSteps ?? 1,
      gradientCheckpointing: options.checkpointed ?? false,
      seed: 7,
    },
    callbacks: [
      {
        onStepEnd: () => {
          run.stats.push({ ...attune.backend.stats });
          if (run.stats.length % 50 === 0) collectGarbage();
          run.heap.push(process.memoryUsage().heapUsed);
        },
      },
    ],
  });
  trainer.on('log', ({ logs }) => {
    if (logs.loss !== undefined) run.losses.push(logs.loss);
  });
  await trainer.train();
  return run;
}

describe('the steady step', () => {
  test('from the fourth on: nothing allocated, bound or compiled; one submit; no read-back between logs', async () => {
    const { stats } = await train(20, { loggingSteps: 100 });
    for (let step = 4; step < 19; step++) {
      const [before, after] = [stats[step - 1]!, stats[step]!];
      expect(after.buffersCreated - before.buffersCreated, `buffers at step ${step}`).toBe(0);
      expect(after.bindGroups - before.bindGroups, `bind groups at step ${step}`).toBe(0);
      expect(after.pipelines - before.pipelines, `pipelines at step ${step}`).toBe(0);
      expect(after.readbacks - before.readbacks, `read-backs at step ${step}`).toBe(0);
      expect(after.submits - before.submits, `submits at step ${step}`).toBe(1);
    }
  });

  test('200 steps: live bytes and heap stay flat', async () => {
    const { stats, heap } = await train(200, { loggingSteps: 10 });
    expect(stats.at(-1)!.liveBytes).toBe(stats[10]!.liveBytes);
    expect(stats.at(-1)!.reservedBytes).toBe(stats[10]!.reservedBytes);
    // Both after a collection, so that garbage does not count.
    expect(heap.at(-1)! - heap[49]!).toBeLessThan(4e6);
  });

  test('one seed, one device: the same losses bit for bit, dropout included', async () => {
    const [first, second] = [await train(8, { dropout: 0.1 }), await train(8, { dropout: 0.1 })];
    expect(first.losses).toHaveLength(8);
    expect(second.losses).toEqual(first.losses);
  });

  test('gradient checkpointing: the same losses, the same promises', async () => {
    const plain = await train(8, { dropout: 0.1 });
    const { losses, stats } = await train(8, { dropout: 0.1, checkpointed: true });
    expect(losses).toEqual(plain.losses);
    expect(stats.at(-1)!.buffersCreated).toBe(stats[2]!.buffersCreated);
    expect(stats.at(-1)!.liveBytes).toBe(stats[2]!.liveBytes);
  });
});

describe('recording', () => {
  test('an upload takes its place among the dispatches', async () => {
    await using backend = await createDawnBackend();
    const engine = new Engine(backend);
    const x = engine.tensor([1, 2, 3, 4]);
    const doubled = x.mul(2);
    backend.write(x.storage.buffer, 0, Float32Array.of(10, 20, 30, 40));
    const again = x.mul(2);
    expect([...(await doubled.data())]).toEqual([2, 4, 6, 8]);
    expect([...(await again.data())]).toEqual([20, 40, 60, 80]);
  });

  test('an upload larger than the staging buffer, after work was recorded, arrives whole', async () => {
    await using backend = await createDawnBackend();
    const engine = new Engine(backend);
    const small = engine.tensor([1]).add(1);
    const values = Float32Array.from({ length: 3_000_000 }, (_, i) => i % 1000);
    const large = engine.tensor(values);
    expect(
      Buffer.compare(Buffer.from((await large.data()).buffer), Buffer.from(values.buffer)),
    ).toBe(0);
    expect(await small.item()).toBe(2);
  });

  test('a freed buffer is reused only by later work', async () => {
    await using backend = await createDawnBackend();
    const engine = new Engine(backend);
    const a = engine.tensor([1, 1, 1, 1]);
    const sum = a.add(1);
    a.dispose();
    const b = engine.tensor([9, 9, 9, 9]); // takes over the memory of a
    expect([...(await sum.data())]).toEqual([2, 2, 2, 2]);
    expect([...(await b.data())]).toEqual([9, 9, 9, 9]);
  });

  test('two backends in one process do not meet', async () => {
    await using one = await createDawnBackend();
    await using two = await createDawnBackend();
    const a = new Engine(one).tensor([1, 2]).mul(3);
    const b = new Engine(two).tensor([1, 2]).mul(5);
    expect([...(await a.data()), ...(await b.data())]).toEqual([3, 6, 5, 10]);
  });

  test('use after dispose is an error with its reason', async () => {
    const backend = await createDawnBackend();
    const engine = new Engine(backend);
    await backend[Symbol.asyncDispose]();
    expect(() => engine.tensor([1])).toThrow(/BACKEND_DISPOSED/);
  });
});

describe('failures', () => {
  test('a shader that does not compile rejects the next wait, with its name', async () => {
    const choice = await chooseAdapter(undefined);
    const device = await choice.adapter.requestDevice();
    await using backend = new DawnBackend(device, choice, [
      {
        op: 'add',
        plan: (call) => [
          {
            key: 'broken',
            wgsl: () => 'this is not WGSL',
            operands: [...call.inputs, ...call.outputs],
            reads: 2,
            params: [],
            grid: [1, 1, 1],
          },
        ],
      },
    ]);
    const engine = new Engine(backend);
    const sum = engine.tensor([1]).add(engine.tensor([2]));
    await expect(sum.data()).rejects.toThrow(/GPU_ERROR[\s\S]*broken/);
  });

  test('a device lost during training ends the run with the last checkpoint intact', async () => {
    await using attune = await onDawn();
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
    });
    const outputDir = temporaryFolder();
    const trainer = new SFTTrainer({
      model,
      trainDataset: rows(16),
      peftConfig: { peftType: 'LORA', r: 4 },
      args: { outputDir, maxSteps: 50, perDeviceTrainBatchSize: 4, saveSteps: 3, loggingSteps: 1 },
      callbacks: [
        {
          onStepEnd: ({ state }) => {
            if (state.globalStep === 5) (attune.backend as DawnBackend).device.destroy();
          },
        },
      ],
    });
    const error = await trainer.train().catch((e: unknown) => e);
    expect(AttuneError.isInstance(error) && error.code).toBe('DEVICE_LOST');
    expect(String(error)).toContain('checkpoint-3');
    expect(readdirSync(outputDir)).toEqual(['checkpoint-3']);
  });

  test('no such adapter: says what was tried and what to install', async () => {
    const wanted = (await chooseAdapter(undefined)).kind === 'gpu' ? 'lavapipe' : 'gpu';
    await expect(chooseAdapter(wanted)).rejects.toThrow(
      /NO_ADAPTER[\s\S]*system Vulkan[\s\S]*mesa-vulkan-drivers/,
    );
  });
});

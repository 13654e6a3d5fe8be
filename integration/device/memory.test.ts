import { AutoModelForCausalLM, SFTTrainer } from '@attune/core';
import type { Backend, BufferHandle, OpCall } from '@attune/core/backend';
import { describe, expect, test, vi } from 'vitest';
import { fixtureJson, onDawn, temporaryFolder } from './support.js';

/** What one update held, and what it could not have done without. */
interface Footprint {
  /** Bytes that live through the update: weights, gradients, moments. */
  readonly lasting: number;
  /** Highest number of bytes handed out at one time. */
  readonly peak: number;
  /** Highest sum of the tensors between their first and their last use. */
  readonly bound: number;
  readonly largest: number;
}

interface Life {
  readonly bytes: number;
  first: number;
  last: number;
}

/** Follows each buffer from its first to its last use in what is dispatched. */
function watch(backend: Backend) {
  const lives: Life[] = [];
  const current = new Map<number, Life>();
  let clock = 0;
  const use = ({ id }: BufferHandle) => {
    const life = current.get(id);
    if (!life) return;
    life.first = Math.min(life.first, clock);
    life.last = clock;
  };
  const { alloc, dispatch, write, free } = backend;
  vi.spyOn(backend, 'alloc').mockImplementation((bytes, dtype) => {
    const handle = alloc.call(backend, bytes, dtype);
    const life = { bytes, first: Number.POSITIVE_INFINITY, last: -1 };
    lives.push(life);
    current.set(handle.id, life);
    return handle;
  });
  vi.spyOn(backend, 'dispatch').mockImplementation((call: OpCall) => {
    clock++;
    for (const { buffer } of [...call.inputs, ...call.outputs]) use(buffer);
    dispatch.call(backend, call);
  });
  vi.spyOn(backend, 'write').mockImplementation((buffer, offset, data) => {
    clock++;
    use(buffer);
    write.call(backend, buffer, offset, data);
  });
  vi.spyOn(backend, 'free').mockImplementation((buffer) => {
    current.delete(buffer.id);
    free.call(backend, buffer);
  });
  // A pass that is repeated asks for nothing again.
  vi.spyOn(backend as Required<Backend>, 'record').mockImplementation((work) => {
    work();
    return null;
  });
  return {
    /**
     * What was allocated since the last call: the bound over it; what is alive still counts
     * throughout.
     */
    bound() {
      const alive = new Set(current.values());
      const changes: [number, number][] = [];
      for (const life of lives) {
        if (alive.has(life) || life.last < 0) continue;
        changes.push([life.first, life.bytes], [life.last + 0.5, -life.bytes]);
      }
      lives.length = 0;
      let sum = 0;
      let most = 0;
      for (const [, bytes] of changes.sort(([a], [b]) => a - b)) {
        sum += bytes;
        most = Math.max(most, sum);
      }
      return most;
    },
  };
}

const config = {
  ...fixtureJson('tiny-llama/config.json'),
  hidden_size: 64,
  intermediate_size: 176,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 2048,
  max_position_embeddings: 256,
};

/** The third update of a decoder of six layers, [4, 256] tokens. */
async function footprint(options: { lora: boolean; checkpointed: boolean }): Promise<Footprint> {
  await using attune = await onDawn();
  const { backend } = attune;
  const model = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 1 });
  const rows = Array.from({ length: 4 }, (_, r) => {
    const ids = Array.from({ length: 256 }, (_, i) => (r * 31 + i * 7) % 2000);
    return { input_ids: ids, labels: ids };
  });
  const watched = watch(backend);
  let found: Footprint | null = null;
  let largest = 0;
  const spy = vi.mocked(backend.alloc);
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    ...(options.lora && {
      peftConfig: { peftType: 'LORA', r: 8, targetModules: 'all-linear' },
    }),
    args: {
      outputDir: temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 3,
      perDeviceTrainBatchSize: 4,
      loggingSteps: 100,
      gradientCheckpointing: options.checkpointed,
    },
    callbacks: [
      {
        onStepBegin: () => {
          watched.bound();
          spy.mock.calls.length = 0;
          backend.stats.peakBytes = backend.stats.liveBytes;
        },
        onStepEnd: () => {
          largest = Math.max(...spy.mock.calls.map(([bytes]) => bytes));
          const lasting = backend.stats.liveBytes;
          const bound = lasting + watched.bound();
          found = { lasting, peak: backend.stats.peakBytes, bound, largest };
        },
      },
    ],
  });
  await trainer.train();
  vi.restoreAllMocks();
  return found!;
}

describe.each([{ lora: false }, { lora: true }])('memory of an update, %o', ({ lora }) => {
  test('is what is in use at one time; gradient checkpointing saves most of it', async () => {
    const whole = await footprint({ lora, checkpointed: false });
    const less = await footprint({ lora, checkpointed: true });
    for (const { peak, bound, lasting } of [whole, less]) {
      expect(bound).toBeGreaterThan(1.5 * lasting); // something was followed
      expect(peak / bound).toBeLessThanOrEqual(1.05);
      expect((peak - lasting) / (bound - lasting)).toBeLessThanOrEqual(1.1);
    }
    expect(less.peak - less.lasting).toBeLessThan((whole.peak - whole.lasting) / 3);
    expect(less.lasting).toBe(whole.lasting);
  });

  test('no buffer comes near tokens x vocabulary', async () => {
    const { largest } = await footprint({ lora, checkpointed: false });
    expect(largest).toBeLessThan((4 * 256 * config.vocab_size * 4) / 10);
  });
});

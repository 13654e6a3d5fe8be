import { z } from 'zod';
import type { Ledger } from '../../backend/countingBackend.js';
import type { Module } from '../../nn/module.js';
import { QuantizedLayer } from '../../nn/quantizedLayer.js';
import { formatBytes } from '../../util/bytes.js';
import { type OptionsInput, parseOptions } from '../../util/options.js';

/** What memory is held for. */
export type MemoryCategory =
  | 'weights'
  | 'gradients'
  | 'optimizer'
  | 'inputs'
  | 'activations'
  | 'loss'
  | 'backward'
  | 'cache'
  | 'scratch'
  | 'before'
  | 'rounding'
  | 'pooled';

/** One line of a plan. */
export interface MemoryEntry {
  readonly category: MemoryCategory;
  /** The storage type, of weights. */
  readonly detail: string;
  readonly bytes: number;
}

/** A part of the work, and the most that it hands out at one time. */
export interface MemoryPhase {
  readonly name: 'optimizer' | 'step' | 'evaluate' | 'generate';
  readonly peakBytes: number;
}

const generationShape = {
  /** Prompts at a time. */
  batchSize: z.int().min(1).meta({ aka: 'batch prompts' }),
  /** Tokens of a prompt. */
  promptLength: z.int().min(1).meta({ aka: 'prompttokens length' }),
  /** Tokens of an answer. */
  maxNewTokens: z.int().min(1).meta({ aka: 'maxtokens' }),
};
const generationOptions = z.strictObject(generationShape);

/** Tokens of a generation whose memory is planned too. */
export type GenerationShape = OptionsInput<typeof generationShape>;

const planMemoryShape = {
  /**
   * Also what `model.generate` holds for so many tokens, key-value cache included. Default: not
   * planned.
   */
  generation: z.custom<GenerationShape>().optional().meta({ aka: 'generate' }),
  /** Plan with these rows. Default: the trainer's. */
  rows: z
    .array(z.unknown(), 'expected an array of rows')
    .readonly()
    .optional()
    .meta({ aka: 'dataset traindataset' }),
};
const planMemoryOptions = z.strictObject(planMemoryShape);

/** Options of `trainer.planMemory`. */
export type PlanMemoryOptions = OptionsInput<typeof planMemoryShape>;

/**
 * The options of a plan, and those of the generation in it.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function checkPlanMemory(options: PlanMemoryOptions, where: string): void {
  const { generation } = parseOptions(planMemoryOptions, options, { where });
  if (generation) parseOptions(generationOptions, generation, { where: `${where}: generation` });
}

/** What a training run will hold on the device, as `trainer.planMemory()` counts it. */
export interface MemoryPlan {
  readonly device: string;
  /** Most bytes handed out at one time: `backend.stats.peakBytes` of the run. */
  readonly peakBytes: number;
  /**
   * Bytes that the device holds then, buffers kept for reuse among them:
   * `backend.stats.reservedBytes`.
   */
  readonly reservedBytes: number;
  /** What is there at the peak, the largest first. The sum is `reservedBytes`. */
  readonly entries: readonly MemoryEntry[];
  readonly phases: readonly MemoryPhase[];
  /** Numbers in parameters, all and trained. */
  readonly parameters: number;
  readonly trainedParameters: number;
  /** The largest batch: its arrays and their shapes. */
  readonly batch: Readonly<Record<string, readonly number[]>>;
  /** Bytes of one category at the peak. */
  bytesOf(category: MemoryCategory): number;
  /** The plan as a table, for a terminal. */
  toString(): string;
}

/** What {@link describePlan} is told beside the ledger. */
export type PlanFacts = Pick<MemoryPlan, 'device' | 'phases' | 'batch'> & { readonly root: Module };

/**
 * @param reservedBytes what the device holds in the end
 * @param peakBytes the most that was handed out
 * @param ledger what that was
 */
export function describePlan(
  reservedBytes: number,
  peakBytes: number,
  ledger: Ledger,
  { root, ...facts }: PlanFacts,
): MemoryPlan {
  const entries = [...ledger, ['pooled', reservedBytes - peakBytes] as const]
    .filter(([, bytes]) => bytes > 0)
    .map(([label, bytes]) => {
      const [category, detail = ''] = label.split(' ');
      return { category: category as MemoryCategory, detail, bytes };
    })
    .sort((a, b) => b.bytes - a.bytes);
  const counts = countParameters(root);
  return {
    ...facts,
    ...counts,
    peakBytes,
    reservedBytes,
    entries,
    bytesOf: (category) =>
      entries.reduce((sum, entry) => sum + (entry.category === category ? entry.bytes : 0), 0),
    toString: () => table({ ...facts, ...counts, peakBytes, reservedBytes, entries }),
  };
}

function countParameters(root: Module) {
  const all = new Set([...root.namedParameters()].map(([, parameter]) => parameter));
  let parameters = 0;
  let trainedParameters = 0;
  for (const { size, trainable } of all) {
    parameters += size;
    if (trainable) trainedParameters += size;
  }
  for (const [, module] of root.namedModules())
    if (module instanceof QuantizedLayer) parameters += module.weightSize;
  return { parameters, trainedParameters };
}

const words: Readonly<Record<MemoryCategory, string>> = {
  weights: 'weights',
  gradients: 'gradients of weights',
  optimizer: 'optimizer',
  inputs: 'inputs',
  activations: 'activations kept for the backward pass',
  loss: 'logits and loss',
  backward: 'backward pass, layers computed again',
  cache: 'key-value cache',
  scratch: 'scratch of kernels',
  before: 'on the device before, beside the weights',
  rounding: 'rounding of sizes',
  pooled: 'pool and staging: kept for reuse',
};

function table(plan: Omit<MemoryPlan, 'bytesOf' | 'toString'>): string {
  const { device, peakBytes, reservedBytes, entries, phases, batch } = plan;
  const rows = entries.map(({ category, detail, bytes }): [string, number] => [
    detail ? `${words[category]}, ${detail}` : words[category],
    bytes,
  ]);
  rows.push(['sum: held on the device', reservedBytes]);
  const width = Math.max(...rows.map(([name]) => name.length));
  const share = (bytes: number) => `${((100 * bytes) / reservedBytes).toFixed(1)} %`.padStart(8);
  const shapes = Object.entries(batch).map(([name, shape]) => `${name} [${shape.join(', ')}]`);
  return [
    `memory on ${device}: ${plan.parameters} parameters, ${plan.trainedParameters} trained`,
    `largest batch: ${shapes.join(', ')}`,
    ...rows.map(
      ([name, bytes]) =>
        `  ${name.padEnd(width)} ${formatBytes(bytes).padStart(10)}${share(bytes)}`,
    ),
    `  in use at the peak ${formatBytes(peakBytes)}: ${phases.map((p) => `${p.name} ${formatBytes(p.peakBytes)}`).join(', ')}`,
  ].join('\n');
}

import { isLayerWeight } from '../../nn/offload.js';
import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import { formatBytes } from '../../util/bytes.js';
import { AttuneError } from '../../util/errors.js';
import { chooseOptimizer } from '../makeOptimizer.js';
import type { MemoryPlan } from './memoryPlan.js';
import { type PlanSubject, planMemory } from './planMemory.js';

/** Something that makes training smaller. */
export interface WayOut {
  /** What to write. */
  readonly change: string;
  /** What it costs. */
  readonly cost: string;
  /** Bytes that it saves by itself. */
  readonly savedBytes: number;
  /** Bytes held on the device with it and with every way before it in the list. */
  readonly togetherBytes: number;
}

/** One knob: how the work looks with it, or null where it is of no use. */
interface Knob {
  readonly cost: string;
  turn(subject: PlanSubject, budget: number): { change: string; subject: PlanSubject } | null;
}

const withArgs = (subject: PlanSubject, args: Partial<TrainingArguments>): PlanSubject => ({
  ...subject,
  context: { ...subject.context, args: { ...subject.context.args, ...args } },
});

const withOptim = (subject: PlanSubject, optim: string): PlanSubject => {
  const changed = withArgs(subject, { optim, optimArgs: '' });
  const { args, model, optimizers } = changed.context;
  const chosen = [chooseOptimizer(model.attune, args), optimizers[1]] as const;
  return { ...changed, context: { ...changed.context, optimizers: chosen } };
};

/** From what costs least to what costs most. */
const knobs: readonly Knob[] = [
  {
    cost: 'a third more time, the same numbers',
    turn: (subject) =>
      (subject.checkpointing ?? subject.context.model.isGradientCheckpointing)
        ? null
        : { change: 'gradientCheckpointing: true', subject: { ...subject, checkpointing: true } },
  },
  {
    cost: 'smaller kernels, the same gradient',
    turn: (subject, budget) => {
      const { perDeviceTrainBatchSize: rows, gradientAccumulationSteps: steps } =
        subject.context.args;
      const halved = (n: number) =>
        withArgs(subject, {
          perDeviceTrainBatchSize: Math.ceil(rows / n),
          perDeviceEvalBatchSize: Math.min(
            subject.context.args.perDeviceEvalBatchSize,
            Math.ceil(rows / n),
          ),
          gradientAccumulationSteps: steps * n,
        });
      if (rows === 1) return null;
      let n = 2;
      while (n < rows && held(halved(n)) > budget) n *= 2;
      const smaller = halved(n);
      const { args } = smaller.context;
      return {
        change: `perDeviceTrainBatchSize: ${args.perDeviceTrainBatchSize}, perDeviceEvalBatchSize: ${args.perDeviceEvalBatchSize}, gradientAccumulationSteps: ${args.gradientAccumulationSteps}`,
        subject: smaller,
      };
    },
  },
  {
    cost: 'state goes to the host and back in each update, the same numbers',
    turn: (subject) => {
      const { optim } = subject.context.args;
      const kind = /^adamw(_bnb)?_8bit$/.test(optim)
        ? 'adamw_8bit'
        : /^(adamw|lion)(_torch(_fused)?|_32bit)?$/.exec(optim)?.[1];
      return kind
        ? { change: `optim: "paged_${kind}"`, subject: withOptim(subject, `paged_${kind}`) }
        : null;
    },
  },
  {
    cost: 'state rounded to 8 bits',
    turn: (subject) =>
      /^adamw(_torch(_fused)?)?$/.test(subject.context.args.optim)
        ? {
            change: 'optim: "adamw_8bit"',
            subject: withOptim(subject, 'adamw_8bit'),
          }
        : null,
  },
  {
    cost: 'weights are uploaded twice for each micro-batch, the same numbers',
    turn: (subject) =>
      subject.offload || !hasFrozenLayers(subject)
        ? null
        : {
            change: 'fromPretrained(..., { offload: "weights" }) with gradientCheckpointing: true',
            subject: { ...subject, offload: true, checkpointing: true },
          },
  },
  {
    cost: 'the end of long rows is not learned',
    turn: (subject, budget) => {
      const longest = subject.trainExamples.reduce<number>(
        (most, example) => Math.max(most, longestArray(example)),
        0,
      );
      let length = longest;
      do length = Math.floor(length / 2);
      while (length > 32 && held(shortened(subject, length)) > budget);
      return length < 16
        ? null
        : { change: `maxLength: ${length}`, subject: shortened(subject, length) };
    },
  },
];

const hasFrozenLayers = ({ context }: PlanSubject): boolean =>
  [...context.model.root.namedParameters()].some(
    ([name, parameter]) =>
      !parameter.trainable && !parameter.isOffloaded && isLayerWeight(name, parameter),
  );

const held = (subject: PlanSubject): number => planMemory(subject).reservedBytes;

/**
 * Every array of an example cut to `length`: what a smaller maxLength does to token ids and labels.
 */
const shortened = (subject: PlanSubject, length: number): PlanSubject => ({
  ...subject,
  trainExamples: subject.trainExamples.map((example) =>
    typeof example === 'object' && example !== null
      ? Object.fromEntries(
          Object.entries(example).map(([name, value]) => [name, cut(value, length)]),
        )
      : example,
  ),
});

const isArrayLike = (
  value: unknown,
): value is ArrayLike<unknown> & { slice(a: number, b: number): unknown } =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && 'slice' in value);

const cut = (value: unknown, length: number): unknown =>
  isArrayLike(value) && value.length > length ? value.slice(0, length) : value;

const longestArray = (example: unknown): number =>
  typeof example === 'object' && example !== null
    ? Math.max(0, ...Object.values(example).map((v) => (isArrayLike(v) ? v.length : 0)))
    : 0;

/**
 * What would make training smaller, the cheapest first; until all of it together fits, if it can.
 */
export function waysOut(subject: PlanSubject, plan: MemoryPlan, budget: number): WayOut[] {
  const ways: WayOut[] = [];
  let together = subject;
  let bytes = plan.reservedBytes;
  for (const { cost, turn } of knobs) {
    const alone = turn(subject, budget);
    if (!alone) continue;
    const savedBytes = plan.reservedBytes - held(alone.subject);
    if (savedBytes <= 0) continue;
    if (bytes > budget) {
      together = turn(together, budget)?.subject ?? together;
      bytes = held(together);
    }
    ways.push({ change: alone.change, cost, savedBytes, togetherBytes: bytes });
  }
  return ways;
}

/**
 * @throws MEMORY_BUDGET with what would make it fit, computed by planning again with each change
 */
export function checkBudget(subject: PlanSubject, budget: number): void {
  const plan = planMemory(subject);
  if (plan.reservedBytes <= budget) return;
  const ways = waysOut(subject, plan, budget);
  const fits = (bytes: number) => (bytes <= budget ? ', fits' : '');
  const lines = ways.map(
    ({ change, cost, savedBytes }) =>
      `\n  - ${change}: ${formatBytes(savedBytes)} less${fits(plan.reservedBytes - savedBytes)} (${cost})`,
  );
  throw new AttuneError(
    'MEMORY_BUDGET',
    `training would hold ${formatBytes(plan.reservedBytes)} on ${plan.device}; maxMemory is ${formatBytes(budget)}.${lines.join('')}`,
    { remedy: remedyFor(ways, plan, budget), details: { plan, budget, ways } },
  );
}

function remedyFor(ways: readonly WayOut[], plan: MemoryPlan, budget: number): string {
  const single = ways.find(({ savedBytes }) => plan.reservedBytes - savedBytes <= budget);
  if (single) return `Cheapest: ${single.change}.`;
  const last = ways.findIndex(({ togetherBytes }) => togetherBytes <= budget);
  if (last >= 0)
    return `Together these fit: ${ways
      .slice(0, last + 1)
      .map((w) => w.change)
      .join('; ')}.`;
  const least = Math.min(plan.reservedBytes, ...ways.map((w) => w.togetherBytes));
  return `All of it together still holds ${formatBytes(least)}: raise maxMemory, or take a smaller model, an adapter (peftConfig) or a 16-bit base.`;
}

import type { OptimizerDefinition, OptimizerSettings } from '../optim/definition.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { ParameterGroup } from '../optim/parameterGroups.js';
import { Engine } from '../tensor/engine.js';
import type { OpDef } from '../tensor/op.js';
import { numel } from '../tensor/shape.js';
import { AttuneError } from '../util/errors.js';
import { Float32Backend } from './float32Backend.js';
import { type KitCheck, kitOf } from './kit.js';
import { distance, referenceOf, valuesOf } from './numbers.js';
import { DECAYED, EXEMPT, Parameters, SHAPES, type Values, workWith } from './quadratic.js';

/** Options of the kit for optimizers. */
export interface OptimizerKitOptions {
  /** `optimArgs`, camelCase. Default none. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Arguments of training that it takes. Default those of transformers. */
  readonly settings?: Partial<OptimizerSettings>;
  /** A rate at which 20 updates halve the distance to a minimum about 1 away. Default 0.1. */
  readonly learningRate?: number;
  /** Ops of the optimizer, beside the built-in table. Default none. */
  readonly extraOps?: readonly OpDef[];
}

/**
 * What every optimizer must do, as checks for any test framework:
 *
 *     for (const { name, run } of optimizerKit(definition, { options })) test(name, run);
 *
 * Unknown options are refused. Updates go down a quadratic; a rate of 0 changes nothing; weight
 * decay pulls its group to 0, and no other; a group's `lrScale` multiplies the rate. A gradient
 * that is not finite changes neither parameters nor state. Gradients add up until `zeroGrad`,
 * those of parameters that no loss reached are zero, and they lie flat, to be written in place.
 * The state of a checkpoint goes on bit for bit. What is planned is what is taken, and nothing is
 * left behind.
 */
export function optimizerKit(
  definition: OptimizerDefinition,
  kit: OptimizerKitOptions = {},
): KitCheck[] {
  const { check, fail, rejected } = kitOf(`optimizer "${definition.name}"`);
  const { learningRate = 0.1, extraOps = [] } = kit;
  const settings: OptimizerSettings = {
    learningRate,
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamEpsilon: 1e-8,
    ...kit.settings,
  };
  const create = (engine: Engine, groups: readonly ParameterGroup[]): Optimizer =>
    definition.create(engine, groups, settings, definition.options.parse(kit.options ?? {}));

  interface MakeOptions {
    readonly weightDecay?: number;
    readonly lrScale?: number;
    readonly values?: ReadonlyMap<string, ArrayLike<number>>;
    readonly engine?: Engine;
  }
  /** Parameters, and an optimizer of them. */
  const make = ({ weightDecay = 0, lrScale, values, ...given }: MakeOptions = {}) => {
    const engine = given.engine ?? new Engine(new Float32Backend(extraOps));
    const root = new Parameters(engine, values);
    const named = new Map(root.namedParameters());
    const group = (shapes: object, decay: number): ParameterGroup => ({
      parameters: Object.keys(shapes).map((name) => ({ name, parameter: named.get(name)! })),
      weightDecay: decay,
      ...(lrScale !== undefined && { lrScale }),
    });
    const optimizer = create(engine, [group(DECAYED, weightDecay), group(EXEMPT, 0)]);
    const held = { engine, root, named, optimizer };
    return { ...held, ...workWith(held, learningRate) };
  };

  const same = (a: Values, b: Values, what: string, remedy: string) => {
    for (const [name, values] of a) {
      const apart = distance(values, b.get(name)!);
      if (apart !== 0) fail(`${what}: ${name} differs by ${apart}`, remedy);
    }
  };

  return [
    check('an option that it does not have is refused', async () => {
      await rejected(
        'an unknown option',
        () => definition.options.parse({ ...kit.options, 'no such option': 1 }),
        'Make options a z.strictObject({ ... }).',
      );
    }),
    check('updates go down a quadratic', async () => {
      const { update, loss, optimizer } = make();
      const start = loss();
      for (let step = 0; step < 20; step++) await update();
      if (!(loss() < 0.5 * start))
        fail(
          `20 updates at ${learningRate} bring a loss of ${start} to ${loss()}`,
          'Is the sign of the update right? Give the kit a learningRate that suits it.',
        );
      if (optimizer.stepCount !== 20)
        fail(`stepCount is ${optimizer.stepCount} after 20 updates`, 'Count each call of step.');
    }),
    check('a rate of 0 changes no parameter', async () => {
      const { update, values } = make({ weightDecay: 0.5 });
      const before = values();
      for (let step = 0; step < 2; step++) await update({ lr: 0 });
      same(values(), before, 'at a rate of 0', 'Multiply all of the update by lr, decay too.');
    }),
    check('weight decay pulls its group to 0, and no other', async () => {
      const { stepAlone, values } = make({ weightDecay: 0.5 });
      const before = values();
      await stepAlone();
      for (const [name, found] of values())
        found.forEach((value, i) => {
          const old = before.get(name)![i]!;
          const isRight =
            name in DECAYED ? Math.abs(value) < Math.abs(old) && value * old > 0 : value === old;
          if (!isRight)
            fail(
              `a gradient of 0 moves ${name} from ${old} to ${value}, with weight decay ${name in DECAYED ? 0.5 : 0}`,
              'Take weightDecay from the group: p -= lr weightDecay p.',
            );
        });
    }),
    check("a group's lrScale multiplies the rate", async () => {
      const scaled = make({ weightDecay: 0.1, lrScale: 4 });
      const plain = make({ weightDecay: 0.1 });
      for (let step = 0; step < 2; step++) {
        await scaled.update({ lr: 0.01 });
        await plain.update({ lr: 0.04 });
      }
      same(scaled.values(), plain.values(), 'lrScale 4 and four times the rate', 'Use lrScale.');
    }),
    check('a gradient that is not finite changes neither parameters nor state', async () => {
      const { update, values, state } = make({ weightDecay: 0.1 });
      await update();
      const [before, stateBefore] = [values(), await state()];
      for (const by of [Number.NaN, Number.POSITIVE_INFINITY]) await update({ by });
      const remedy = 'Leave everything where clip[2] is 0: on the device, the host does not know.';
      same(values(), before, 'after gradients that are not finite', remedy);
      same(await state(), stateBefore, 'its state after gradients that are not finite', remedy);
    }),
    check('gradients add up until zeroGrad; those that no loss reached are zero', async () => {
      const { backward, clip, optimizer, gradient } = make();
      const norm = Math.sqrt(
        [...gradient().values()].flatMap((g) => [...g]).reduce((n, g) => n + g * g, 0),
      );
      const expect = (found: number, expected: number, what: string, remedy: string) => {
        if (!(Math.abs(found - expected) <= 1e-5 * expected))
          fail(`${what} is ${found}, expected ${expected}`, remedy);
      };
      backward();
      expect(clip()[0]!, norm, 'the norm', 'Give the L2 norm over all parameters.');
      expect(clip(norm / 2)[1]!, 0.5, 'the coefficient at half the norm', 'See ops.clipFactor.');
      expect(clip(0)[1]!, 1, 'the coefficient for maxNorm 0', '0 means: do not clip.');
      backward();
      expect(clip()[0]!, 2 * norm, 'the norm of two', 'Add to the gradients that are there.');
      optimizer.zeroGrad();
      backward(1, ['layer.weight']);
      const alone = Math.sqrt(
        gradient()
          .get('layer.weight')!
          .reduce((n, g) => n + g * g, 0),
      );
      expect(clip()[0]!, alone, 'the norm after zeroGrad', 'Zero what the loss does not reach.');
      optimizer.zeroGrad();
      backward(8);
      expect(clip(0, 8)[0]!, norm, 'the norm of a scaled loss', 'Divide by lossScale.');
      optimizer.zeroGrad();
      if (!optimizer.gradients) return;
      backward();
      const flat = optimizer.gradients();
      const elements = flat.reduce((n, { size }) => n + size, 0);
      if (flat.some(({ shape, dtype }) => shape.length !== 1 || dtype !== 'float32'))
        fail('gradients() gives other than flat float32 tensors', 'Give the arenas.');
      if (elements < Object.values(SHAPES).reduce((n, shape) => n + numel(shape), 0))
        fail(`gradients() gives ${elements} numbers`, 'Give those of every parameter.');
      for (const tensor of flat) {
        const twice = valuesOf(tensor).map((value) => 2 * value);
        referenceOf(tensor).poke(tensor.operand, twice);
      }
      expect(clip()[0]!, 2 * norm, 'the norm after gradients() were doubled', 'Give no copies.');
    }),
    check('a loss that was scaled by a power of two gives the same bits', async () => {
      const [scaled, plain] = [make(), make()];
      for (let step = 0; step < 2; step++) {
        await scaled.update({ lossScale: 1024, maxNorm: 1 });
        await plain.update({ maxNorm: 1 });
      }
      same(
        scaled.values(),
        plain.values(),
        'with a loss scale and without',
        'Multiply gradients by clip[1] before anything else.',
      );
    }),
    check('the state of a checkpoint goes on bit for bit', async () => {
      const whole = make({ weightDecay: 0.1 });
      for (let step = 0; step < 2; step++) await whole.update();
      const arrays = new Map<string, Float32Array | Uint8Array>();
      for (const { name, dtype, shape, data } of whole.optimizer.exportState()) {
        const values = await data();
        if (arrays.has(name)) fail(`two arrays are called "${name}"`, 'Name them kind.parameter.');
        if (!Object.keys(SHAPES).some((parameter) => name.endsWith(`.${parameter}`)))
          fail(`an array is called "${name}"`, 'Name them kind.parameter, as torch does.');
        if (values.length !== numel(shape) || values instanceof Uint8Array !== (dtype === 'U8'))
          fail(`"${name}" is said to be ${dtype} [${shape}], and has ${values.length}`, 'Say so.');
        arrays.set(name, values.slice());
      }
      const resumed = make({ weightDecay: 0.1, values: whole.values() });
      await resumed.optimizer.importState(2, async (name) => arrays.get(name));
      if (resumed.optimizer.stepCount !== 2)
        fail(`stepCount is ${resumed.optimizer.stepCount} after importState(2)`, 'Take it over.');
      for (let step = 0; step < 3; step++) {
        await whole.update();
        await resumed.update();
      }
      const remedy =
        'Put everything that changes into exportState; the rest follows from stepCount.';
      same(resumed.values(), whole.values(), 'resumed and uninterrupted', remedy);
      same(await resumed.state(), await whole.state(), 'the states of the two', remedy);
      if (arrays.size === 0) return;
      const error = await rejected(
        'a checkpoint without its state',
        () => make().optimizer.importState(2, async () => undefined),
        'Throw OPTIMIZER_STATE where read gives nothing, or another length.',
      );
      if (!AttuneError.isInstance(error) || error.code !== 'OPTIMIZER_STATE')
        fail(`a checkpoint without its state is ${String(error)}`, 'Throw OPTIMIZER_STATE.');
    }),
    check('what is planned is what is taken, and nothing is left behind', async () => {
      const engine = new Engine(new Float32Backend(extraOps));
      const record = () => {
        const made = make({ engine });
        made.backward();
        const clip = made.optimizer.clipGradNorm(1);
        made.optimizer.step({ lr: learningRate, clip });
        return { ...made, taken: clip };
      };
      const planned = engine.rehearse((counter) => {
        record().taken.dispose();
        return counter.stats.liveBytes;
      });
      const made = record();
      await made.optimizer.settle?.();
      made.taken.dispose();
      const { stats } = engine.backend;
      if (stats.liveBytes !== planned)
        fail(
          `a rehearsal holds ${planned} bytes, an update ${stats.liveBytes}`,
          'Take all memory in create and step, whatever the numbers are.',
        );
      const before = made.values();
      made.optimizer.dispose();
      same(made.values(), before, 'after dispose', 'dispose leaves the parameters.');
      for (const [name, { tensor }] of made.named)
        if (tensor.grad) fail(`${name} has a gradient after dispose`, 'Clear gradients.');
      made.root.dispose();
      if (stats.liveBytes !== 0)
        fail(`${stats.liveBytes} bytes are left`, 'Free gradients and state in dispose.');
    }),
  ];
}

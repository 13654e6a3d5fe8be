import { z } from 'zod';
import type { Backend } from '../backend/backend.js';
import { encode, type HostArray } from '../backend/dtype.js';
import { ReferenceBackend } from '../backend/reference/referenceBackend.js';
import { Engine } from '../tensor/engine.js';
import { formatShape, numel, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { type CaseOperand, caseRng, type OpCase } from './opCase.js';
import { opCases } from './opCases.js';

/** How far a backend was from the reference in one case. */
export interface CaseResult {
  readonly name: string;
  readonly ok: boolean;
  /** Largest |got - expected| over all outputs. */
  readonly maxError: number;
  /** Largest error as a share of what the tolerance allows: above 1 fails. */
  readonly worst: number;
  /** Whether the backend's own kernel ran; otherwise the op's decomposition did. */
  readonly kernel: boolean;
  /** One line: where it failed worst, or how close it was. */
  readonly message: string;
}

const compareShape = {
  /**
   * The oracle. Give one made with `extraOps` to judge primitives of your own. Default: one of the
   * built-in ops.
   */
  reference: z.instanceof(ReferenceBackend).optional().meta({ aka: 'oracle' }),
};
const compareOptions = z.strictObject(compareShape);

/** What a case is compared with. */
export type CompareOptions = OptionsInput<typeof compareShape>;

/** An operand on the host, in its storage form. */
interface HostOperand {
  readonly bits: HostArray;
  readonly shape: Shape;
  readonly dtype: CaseOperand['dtype'];
}

interface HostCase {
  readonly inputs: readonly HostOperand[];
  readonly targets: readonly HostOperand[];
}

/**
 * Runs one case on `backend` and on the float64 reference, from the same numbers (rounded to their
 * storage dtype first), and compares within the case's tolerance. Leaves nothing on the backend.
 * Needs no test framework; an error of the backend becomes a failed result.
 */
export async function compareCase(
  backend: Backend,
  testCase: OpCase,
  options: CompareOptions = {},
): Promise<CaseResult> {
  parseOptions(compareOptions, options, { where: 'compareCase' });
  const reference = options.reference ?? new ReferenceBackend();
  const host = await operands(testCase, reference);
  const kernel = backend.supports({
    op: testCase.op.name,
    inputs: host.inputs,
    outputs:
      testCase.targets.length > 0 ? host.targets : testCase.op.infer(host.inputs, testCase.attrs),
    attrs: testCase.attrs,
  });
  const expected = await outputs(reference, testCase, host, async (t) => reference.peek(t.operand));
  try {
    const got = await outputs(backend, testCase, host, (t) => t.data());
    return { name: testCase.name, kernel, ...compare(testCase, got, expected) };
  } catch (error) {
    return {
      name: testCase.name,
      kernel,
      ok: false,
      maxError: Number.POSITIVE_INFINITY,
      worst: Number.POSITIVE_INFINITY,
      message: `${testCase.name}: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

async function operands(testCase: OpCase, reference: ReferenceBackend): Promise<HostCase> {
  const drawn = (operand: CaseOperand, index: number): HostOperand => ({
    bits: encode(operand.draw(caseRng(testCase.name, index), numel(operand.shape)), operand.dtype),
    shape: operand.shape,
    dtype: operand.dtype,
  });
  const inputs = testCase.inputs.map(drawn);
  const targets = testCase.targets.map((t, i) => drawn(t, inputs.length + i));
  const { derive } = testCase;
  if (!derive) return { inputs, targets };
  const engine = new Engine(reference);
  const derived = derive(inputs.map((x) => upload(engine, x)));
  const read = [];
  for (const t of derived)
    read.push({ bits: encode(await t.data(), t.dtype), shape: t.shape, dtype: t.dtype });
  return { inputs: read, targets };
}

const upload = (engine: Engine, { bits, shape, dtype }: HostOperand): Tensor =>
  engine.fromBytes(bits, shape, dtype);

interface Output {
  readonly shape: Shape;
  readonly data: ArrayLike<number>;
}

async function outputs(
  backend: Backend,
  { op, name, attrs }: OpCase,
  host: HostCase,
  read: (tensor: Tensor) => Promise<ArrayLike<number>>,
): Promise<Output[]> {
  const engine = new Engine(backend);
  const results = engine.scope(name, () => {
    const inputs = host.inputs.map((x) => upload(engine, x));
    const targets = host.targets.map((x) => upload(engine, x));
    if (targets.length === 0) return engine.run(op, inputs, attrs);
    engine.runInto(op, inputs, targets, attrs);
    return targets;
  });
  try {
    const out: Output[] = [];
    for (const t of results) out.push({ shape: t.shape, data: await read(t) });
    return out;
  } finally {
    for (const t of results) t.dispose();
  }
}

type Comparison = Pick<CaseResult, 'ok' | 'maxError' | 'worst' | 'message'>;

function compare(
  { name, tolerance: common, tolerances, defined }: OpCase,
  got: readonly Output[],
  expected: readonly Output[],
): Comparison {
  let maxError = 0;
  let worst = 0;
  let outside = 0;
  let where = '';
  expected.forEach(({ shape, data }, output) => {
    const ours = got[output]!.data;
    const tolerance = tolerances?.[output] ?? common;
    for (let i = 0; i < data.length; i++) {
      const e = data[i]!;
      const g = ours[i]!;
      if (Object.is(e, g) || e === g || defined?.(i) === false) continue;
      const error = Math.abs(g - e);
      const allowed = tolerance.abs + tolerance.rel * Math.abs(e);
      // NaN on one side only, or an infinity missed: as wrong as can be.
      const share = Number.isFinite(error) ? error / allowed : Number.POSITIVE_INFINITY;
      if (share > 1) outside++;
      if (share > worst) {
        worst = share;
        where = `output ${output} ${formatShape(shape)} at ${formatShape(indexOf(i, shape))}: got ${g}, expected ${e}, allowed ±${allowed.toPrecision(3)}`;
      }
      maxError = Math.max(maxError, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error);
    }
  });
  const ok = outside === 0;
  const message = ok
    ? `${name}: within ${(worst * 100).toFixed(0)} % of the tolerance`
    : `${name}: ${where}; ${outside} elements outside`;
  return { ok, maxError, worst, message };
}

function indexOf(flat: number, shape: Shape): number[] {
  const index = new Array<number>(shape.length);
  for (let d = shape.length - 1, rest = flat; d >= 0; d--) {
    index[d] = rest % shape[d]!;
    rest = Math.floor(rest / shape[d]!);
  }
  return index;
}

const isFunction = (value: unknown): boolean => typeof value === 'function';

const suiteShape = {
  /** What is run; add cases of your own ops. Default: `opCases`. */
  cases: z
    .custom<readonly OpCase[]>(Array.isArray, 'expected an array of cases')
    .default(() => opCases),
  /** Which of them to run. Default all. */
  filter: z
    .custom<(testCase: OpCase) => boolean>(isFunction, 'expected a function')
    .default(() => () => true),
  /** Told of each result. Default: nobody is. */
  onResult: z.custom<(result: CaseResult) => void>(isFunction, 'expected a function').optional(),
};
const suiteOptions = z.strictObject({ ...compareShape, ...suiteShape });

/** Options of the conformance suite. */
export type ConformanceOptions = CompareOptions & OptionsInput<typeof suiteShape>;

/** What the conformance suite found. */
export interface ConformanceReport {
  readonly results: readonly CaseResult[];
  readonly failures: readonly CaseResult[];
  /** Throws CONFORMANCE with every failure, if there is one. */
  assert(): void;
}

/** Runs the cases one after another on one backend and disposes it. */
export async function conformanceSuite(
  createBackend: () => Promise<Backend>,
  options: ConformanceOptions = {},
): Promise<ConformanceReport> {
  const { cases, filter, onResult, ...compare } = parseOptions(suiteOptions, options, {
    where: 'conformanceSuite',
  });
  const backend = await createBackend();
  const results: CaseResult[] = [];
  try {
    for (const testCase of cases.filter(filter)) {
      const result = await compareCase(backend, testCase, compare);
      results.push(result);
      onResult?.(result);
    }
  } finally {
    await backend[Symbol.asyncDispose]();
  }
  const failures = results.filter((r) => !r.ok);
  return {
    results,
    failures,
    assert: () => {
      if (failures.length > 0)
        throw new AttuneError(
          'CONFORMANCE',
          `${failures.length} of ${results.length} cases differ from the reference.\n${failures.map((f) => `  ${f.message}`).join('\n')}`,
          { remedy: 'Run one of them alone with compareCase(backend, case).' },
        );
    },
  };
}

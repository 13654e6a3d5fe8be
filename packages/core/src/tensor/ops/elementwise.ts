import type { DType } from '../../backend/dtype.js';
import { erf } from '../../util/erf.js';
import { AttuneError } from '../../util/errors.js';
import { defineOp, type OpDef, type ReferenceArray } from '../op.js';
import { broadcastShapes, numel, type Shape, sameShape, strides } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { sum } from './reduce.js';

/** Sums `grad` over the axes along which `shape` was broadcast. */
export function sumTo(grad: Tensor, shape: Shape): Tensor {
  if (sameShape(grad.shape, shape)) return grad;
  const lead = grad.rank - shape.length;
  const axes = grad.shape
    .map((_, i) => i)
    .filter((i) => i < lead || (shape[i - lead] === 1 && grad.shape[i] !== 1));
  return sum(grad, axes, true).reshape(...shape);
}

/** Element strides with which `from` is read as if it had shape `to`: 0 along broadcast axes. */
export function broadcastStrides(from: Shape, to: Shape): number[] {
  const own = strides(from);
  const lead = to.length - from.length;
  return to.map((_, i) => (i < lead || from[i - lead] === 1 ? 0 : own[i - lead]!));
}

/**
 * Visits the rows of a contiguous tensor, which are its last axis: where a row starts in it, how
 * long it is, and where it starts in operands that are read with the given steps.
 */
export function forEachRow(
  shape: Shape,
  steps: readonly (readonly number[])[],
  visit: (at: number, length: number, starts: readonly number[]) => void,
): void {
  const outer = shape.length - 1;
  const length = shape[outer] ?? 1;
  const index = new Array<number>(Math.max(outer, 0)).fill(0);
  const starts = steps.map(() => 0);
  for (let at = 0, size = numel(shape); at < size; at += length) {
    visit(at, length, starts);
    for (let d = outer - 1; d >= 0; d--) {
      for (let s = 0; s < steps.length; s++) starts[s]! += steps[s]![d]!;
      if (++index[d]! < shape[d]!) break;
      for (let s = 0; s < steps.length; s++) starts[s]! -= shape[d]! * steps[s]![d]!;
      index[d] = 0;
    }
  }
}

// ---- two operands

type Binary = (a: number, b: number) => number;

/** z[at + j] = x[ia + j alongA] op y[ib + j alongB] for j from 0 to length - 1. */
type BinaryRow = (
  z: ReferenceArray['data'],
  at: number,
  length: number,
  x: ReferenceArray['data'],
  ia: number,
  alongA: number,
  y: ReferenceArray['data'],
  ib: number,
  alongB: number,
) => void;

const rowOf =
  (apply: Binary): BinaryRow =>
  (z, at, length, x, ia, alongA, y, ib, alongB) => {
    for (let j = 0; j < length; j++) z[at + j] = apply(x[ia + j * alongA]!, y[ib + j * alongB]!);
  };

// Three of the ops are most of what the reference does beside products, and a function that all
// ops share cannot inline `apply`: they have loops of their own.
const addRow: BinaryRow = (z, at, length, x, ia, alongA, y, ib, alongB) => {
  for (let j = 0; j < length; j++) z[at + j] = x[ia + j * alongA]! + y[ib + j * alongB]!;
};
const subRow: BinaryRow = (z, at, length, x, ia, alongA, y, ib, alongB) => {
  for (let j = 0; j < length; j++) z[at + j] = x[ia + j * alongA]! - y[ib + j * alongB]!;
};
const mulRow: BinaryRow = (z, at, length, x, ia, alongA, y, ib, alongB) => {
  for (let j = 0; j < length; j++) z[at + j] = x[ia + j * alongA]! * y[ib + j * alongB]!;
};

function binaryOp(
  name: string,
  row: BinaryRow,
  vjp: NonNullable<OpDef<Record<never, never>>['vjp']>,
  saves?: { inputs?: readonly number[]; outputs?: readonly number[] },
): OpDef<Record<never, never>> {
  return defineOp({
    name,
    infer: (inputs) => [
      {
        shape: broadcastShapes(inputs[0]!.shape, inputs[1]!.shape, name),
        dtype: 'float32' as DType,
      },
    ],
    reference: ({ inputs: [a, b], outputs: [out] }) => {
      const [x, y, z] = [a!.data, b!.data, out!.data];
      // Both have one shape, or one is a single number: one row.
      const [wholeA, wholeB] = [x.length === z.length, y.length === z.length];
      if ((wholeA || x.length === 1) && (wholeB || y.length === 1))
        return row(z, 0, z.length, x, 0, Number(wholeA), y, 0, Number(wholeB));
      const stepsA = broadcastStrides(a!.shape, out!.shape);
      const stepsB = broadcastStrides(b!.shape, out!.shape);
      const [alongA, alongB] = [stepsA.at(-1) ?? 0, stepsB.at(-1) ?? 0];
      forEachRow(out!.shape, [stepsA, stepsB], (at, length, [startA, startB]) =>
        row(z, at, length, x, startA!, alongA, y, startB!, alongB),
      );
    },
    vjp,
    ...(saves && { saves }),
  });
}

export const addOp = binaryOp(
  'add',
  addRow,
  ({ inputs, grads, needs }) => inputs.map((t, i) => (needs[i] ? sumTo(grads[0]!, t.shape) : null)),
  {},
);

export const subOp = binaryOp(
  'sub',
  subRow,
  ({ inputs: [a, b], grads: [g], needs }) => [
    needs[0] ? sumTo(g!, a!.shape) : null,
    needs[1] ? sumTo(g!.neg(), b!.shape) : null,
  ],
  {},
);

export const mulOp = binaryOp('mul', mulRow, ({ inputs: [a, b], grads: [g], needs }) => [
  needs[0] ? sumTo(g!.mul(b!), a!.shape) : null,
  needs[1] ? sumTo(g!.mul(a!), b!.shape) : null,
]);

export const divOp = binaryOp(
  'div',
  rowOf((a, b) => a / b),
  ({ inputs: [a, b], grads: [g], needs }) => [
    needs[0] ? sumTo(g!.div(b!), a!.shape) : null,
    needs[1] ? sumTo(g!.mul(a!).div(b!.square()).neg(), b!.shape) : null,
  ],
);

/** Where a wins, b gets nothing; at a tie each gets half, as in torch. */
const winner = (strict: OpDef<Record<never, never>>) =>
  (({ inputs: [a, b], grads: [g], needs, engine }) => {
    const half = engine.run(equalOp, [a!, b!], {})[0]!.mul(0.5);
    const share = (x: Tensor, y: Tensor) => engine.run(strict, [x, y], {})[0]!.add(half);
    return [
      needs[0] ? sumTo(g!.mul(share(a!, b!)), a!.shape) : null,
      needs[1] ? sumTo(g!.mul(share(b!, a!)), b!.shape) : null,
    ];
  }) satisfies NonNullable<OpDef<Record<never, never>>['vjp']>;

const noGradient: NonNullable<OpDef<Record<never, never>>['vjp']> = () => [null, null];
/** 1 where the comparison holds, else 0. */
export const equalOp = binaryOp(
  'equal',
  rowOf((a, b) => (a === b ? 1 : 0)),
  noGradient,
  {},
);
export const greaterOp = binaryOp(
  'greater',
  rowOf((a, b) => (a > b ? 1 : 0)),
  noGradient,
  {},
);
export const lessOp = binaryOp(
  'less',
  rowOf((a, b) => (a < b ? 1 : 0)),
  noGradient,
  {},
);
export const maximumOp = binaryOp('maximum', rowOf(Math.max), winner(greaterOp));
export const minimumOp = binaryOp('minimum', rowOf(Math.min), winner(lessOp));

const binary = (def: OpDef<Record<never, never>>) => (a: Tensor, b: Tensor) =>
  a.engine.run(def, [a, b], {})[0]!;

export const add = binary(addOp);
export const sub = binary(subOp);
export const mul = binary(mulOp);
export const div = binary(divOp);
export const maximum = binary(maximumOp);
export const minimum = binary(minimumOp);
export const equal = binary(equalOp);
export const greater = binary(greaterOp);
export const less = binary(lessOp);

// ---- one operand

type UnaryRule = (context: { x: Tensor; y: Tensor; g: Tensor }) => Tensor;

/** @param saved what the backward rule reads: the input, the output, or neither. */
function unaryOp(
  name: string,
  apply: (x: number) => number,
  saved: 'input' | 'output' | 'none',
  rule: UnaryRule,
): OpDef<Record<never, never>> {
  return defineOp({
    name,
    infer: (inputs) => [{ shape: inputs[0]!.shape, dtype: 'float32' as DType }],
    reference: ({ inputs, outputs }) => {
      const x = inputs[0]!.data;
      const y = outputs[0]!.data;
      for (let i = 0; i < y.length; i++) y[i] = apply(x[i]!);
    },
    vjp: ({ inputs, outputs, grads }) => [rule({ x: inputs[0]!, y: outputs[0]!, g: grads[0]! })],
    saves: saved === 'input' ? { inputs: [0] } : saved === 'output' ? { outputs: [0] } : {},
  });
}

const logistic = (x: number) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
const gaussian = (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
const tanhInner = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);

export const expOp = unaryOp('exp', Math.exp, 'output', ({ y, g }) => g.mul(y));
export const logOp = unaryOp('log', Math.log, 'input', ({ x, g }) => g.div(x));
export const sqrtOp = unaryOp('sqrt', Math.sqrt, 'output', ({ y, g }) => g.div(y).mul(0.5));
export const rsqrtOp = unaryOp(
  'rsqrt',
  (x) => 1 / Math.sqrt(x),
  'output',
  ({ y, g }) => g.mul(y.square().mul(y)).mul(-0.5),
);
export const squareOp = unaryOp(
  'square',
  (x) => x * x,
  'input',
  ({ x, g }) => g.mul(x).mul(2),
);
export const absOp = unaryOp('abs', Math.abs, 'input', ({ x, g }) => g.mul(sign(x)));
export const signOp = unaryOp('sign', Math.sign, 'none', ({ g }) => g.mul(0));
export const sinOp = unaryOp('sin', Math.sin, 'input', ({ x, g }) => g.mul(cos(x)));
export const cosOp = unaryOp('cos', Math.cos, 'input', ({ x, g }) => g.mul(sin(x)).neg());
export const tanhOp = unaryOp('tanh', Math.tanh, 'output', ({ y, g }) =>
  g.mul(y.square().neg().add(1)),
);
export const sigmoidOp = unaryOp('sigmoid', logistic, 'output', ({ y, g }) =>
  g.mul(y.mul(y.neg().add(1))),
);
export const logSigmoidOp = unaryOp(
  'logSigmoid',
  (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))),
  'input',
  ({ x, g }) => g.mul(x.neg().sigmoid()),
);
export const reluOp = unaryOp(
  'relu',
  (x) => Math.max(x, 0),
  'output',
  ({ y, g }) => g.mul(sign(y)),
);
export const siluOp = unaryOp(
  'silu',
  (x) => x * logistic(x),
  'input',
  ({ x, g }) => g.mul(x.engine.run(siluGradOp, [x], {})[0]!),
);
/** d silu / dx = s (1 + x (1 - s)), s = sigmoid(x). */
export const siluGradOp = unaryOp(
  'siluGrad',
  (x) => logistic(x) * (1 + x * (1 - logistic(x))),
  'none',
  secondOrder,
);
export const geluOp = unaryOp(
  'gelu',
  (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  'input',
  ({ x, g }) => g.mul(x.engine.run(geluGradOp, [x], {})[0]!),
);
/** Phi(x) + x phi(x). */
export const geluGradOp = unaryOp(
  'geluGrad',
  (x) => (1 + erf(x / Math.SQRT2)) / 2 + x * gaussian(x),
  'none',
  secondOrder,
);
export const geluTanhOp = unaryOp(
  'geluTanh',
  (x) => (x / 2) * (1 + Math.tanh(tanhInner(x))),
  'input',
  ({ x, g }) => g.mul(x.engine.run(geluTanhGradOp, [x], {})[0]!),
);
export const geluTanhGradOp = unaryOp(
  'geluTanhGrad',
  (x) => {
    const t = Math.tanh(tanhInner(x));
    return (
      (1 + t) / 2 + (x / 2) * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x)
    );
  },
  'none',
  secondOrder,
);

function secondOrder(): Tensor {
  throw new AttuneError(
    'SECOND_ORDER',
    'this op is itself a derivative; backward() is first order.',
    {
      remedy: 'Call it inside engine.noGrad().',
    },
  );
}

const unary = (def: OpDef<Record<never, never>>) => (x: Tensor) => x.engine.run(def, [x], {})[0]!;

export const exp = unary(expOp);
export const log = unary(logOp);
export const sqrt = unary(sqrtOp);
export const rsqrt = unary(rsqrtOp);
export const square = unary(squareOp);
export const abs = unary(absOp);
export const sign = unary(signOp);
export const sin = unary(sinOp);
export const cos = unary(cosOp);
export const tanh = unary(tanhOp);
export const sigmoid = unary(sigmoidOp);
export const logSigmoid = unary(logSigmoidOp);
export const relu = unary(reluOp);
export const silu = unary(siluOp);
const geluExact = unary(geluOp);
const geluTanh = unary(geluTanhOp);
export const gelu = (x: Tensor, approximate: 'none' | 'tanh'): Tensor =>
  approximate === 'tanh' ? geluTanh(x) : geluExact(x);

export const affineOp = defineOp<{ scale: number; shift: number }>({
  name: 'affine',
  infer: (inputs) => [{ shape: inputs[0]!.shape, dtype: 'float32' }],
  reference: ({ inputs, outputs, attrs }) => {
    const x = inputs[0]!.data;
    const y = outputs[0]!.data;
    for (let i = 0; i < y.length; i++) y[i] = x[i]! * attrs.scale + attrs.shift;
  },
  vjp: ({ grads, attrs }) => [affine(grads[0]!, attrs.scale, 0)],
  saves: {},
});

/** scale * x + shift, two numbers from the host. */
export const affine = (x: Tensor, scale: number, shift: number): Tensor =>
  x.engine.run(affineOp, [x], { scale, shift })[0]!;

export const castOp = defineOp<{ dtype: DType }>({
  name: 'cast',
  infer: (inputs, { dtype }) => [{ shape: inputs[0]!.shape, dtype }],
  // The reference backend rounds each output to its storage dtype.
  reference: ({ inputs, outputs }) => outputs[0]!.data.set(inputs[0]!.data),
  vjp: ({ grads }) => [grads[0]!],
  saves: {},
});

/**
 * The same numbers in another storage dtype: nearest even for 16-bit floats, truncation to
 * integers.
 */
export const cast = (x: Tensor, dtype: DType): Tensor =>
  x.dtype === dtype ? x : x.engine.run(castOp, [x], { dtype })[0]!;

import type { DType } from '../../backend/dtype.js';
import type { CrossEntropyOptions } from '../../tensor/crossEntropyOptions.js';
import * as ops from '../../tensor/ops/index.js';
import type { Shape } from '../../tensor/shape.js';
import type { Tensor } from '../../tensor/tensor.js';
import {
  below,
  type Draw,
  f32,
  float32Kernel,
  i32,
  labels,
  normal,
  type OpCase,
  opCase,
  operand,
  scaled,
  uniform,
  values,
} from '../opCase.js';

/**
 * Rows of one element, around one workgroup, longer than one, of no multiple of 4; many and few
 * rows.
 */
const shapes: readonly Shape[] = [
  [1, 1],
  [3, 63],
  [2, 3, 64],
  [5, 65],
  [2, 3, 4, 8],
  [70, 33],
  [2, 1000],
  [7],
  [0, 8],
];
const label = (shape: Shape) => shape.join('x');
const last = (shape: Shape) => shape.at(-1)!;

/**
 * Logits up to 100: exp overflows unless the maximum is taken off; one ulp of such a logit is 8e-6.
 */
const large = uniform(-100, 100);
const largeTolerance = { abs: 2e-5, rel: 1e-5 };

const softmaxCases: OpCase[] = [
  ...[ops.softmaxOp, ops.logSoftmaxOp].flatMap((op) => [
    ...shapes.map((shape) => opCase(op, label(shape), [f32(shape, normal(2))], {}, float32Kernel)),
    opCase(op, 'large', [f32([4, 65], large)], {}, largeTolerance),
  ]),
  ...shapes.map((shape) =>
    opCase(
      ops.softmaxGradOp,
      label(shape),
      [f32(shape, normal(2)), f32(shape)],
      {},
      float32Kernel,
      {
        derive: ([x, g]) => [x!.softmax(), g!],
      },
    ),
  ),
];

const vocabularies: readonly (readonly [rows: number, vocabulary: number])[] = [
  [1, 1],
  [3, 63],
  [4, 64],
  [65, 65],
  [9, 1000],
  [0, 5],
];

const crossEntropyCases: OpCase[] = [
  ...vocabularies.map(([n, v]) =>
    opCase(
      ops.crossEntropyOp,
      `${n}x${v}`,
      [f32([n, v], normal(2)), i32([n], labels(v))],
      {},
      float32Kernel,
    ),
  ),
  opCase(
    ops.crossEntropyOp,
    'large',
    [f32([6, 65], large), i32([6], labels(65))],
    {},
    largeTolerance,
  ),
  opCase(
    ops.crossEntropyOp,
    'no-label-ignored',
    [f32([5, 7]), i32([5], below(7))],
    {},
    float32Kernel,
  ),
  ...vocabularies.map(([n, v]) =>
    opCase(
      ops.crossEntropyGradOp,
      `${n}x${v}`,
      [f32([n, v], normal(2)), i32([n], labels(v)), f32([n])],
      {},
      float32Kernel,
      {
        derive: ([logits, ids, g]) => [
          logits!,
          ids!,
          logits!.engine.run(ops.crossEntropyOp, [logits!, ids!], {})[1]!,
          g!,
        ],
      },
    ),
  ),
];

/** Every form of the loss, and two at once. */
const lossForms: readonly (readonly [string, CrossEntropyOptions])[] = [
  ['smoothed', { smoothing: 0.1 }],
  ['capped', { softcap: 1.5 }],
  ['dft', { dft: true }],
  ['smoothed-capped', { smoothing: 0.25, softcap: 2 }],
  ['dft-capped', { dft: true, softcap: 1.5 }],
];
const lossFormCases: OpCase[] = lossForms.flatMap(([form, options]) =>
  (
    [
      [3, 7],
      [5, 64],
      [2, 257],
    ] as const
  ).flatMap(([n, v]) => [
    opCase(
      ops.crossEntropyOp,
      `${n}x${v}-${form}`,
      [f32([n, v], normal(2)), i32([n], labels(v))],
      options,
      float32Kernel,
    ),
    opCase(
      ops.crossEntropyGradOp,
      `${n}x${v}-${form}`,
      [f32([n, v], normal(2)), i32([n], labels(v)), f32([n])],
      options,
      float32Kernel,
      {
        derive: ([logits, ids, g]) => [
          logits!,
          ids!,
          logits!.engine.run(ops.crossEntropyOp, [logits!, ids!], options)[1]!,
          g!,
        ],
      },
    ),
    opCase(
      ops.crossEntropyIntoOp,
      `${n}x${v}-${form}`,
      [i32([n], labels(v))],
      { ...options, scale: 0.5 },
      float32Kernel,
      { targets: [f32([n, v], normal(2)), f32([n])] },
    ),
    opCase(
      ops.linearCrossEntropyOp,
      `${n}x${v}-${form}`,
      [f32([n, 12], normal(0.5)), f32([v, 12]), i32([n], labels(v))],
      { ...options, toHidden: true, toWeight: true, countCorrect: false },
      float32Kernel,
    ),
  ]),
);
// Saturated: the slope of the cap is zero there, not NaN.
lossFormCases.push(
  opCase(
    ops.crossEntropyIntoOp,
    'saturated',
    [i32([2], below(65))],
    { softcap: 30, scale: 1 },
    float32Kernel,
    { targets: [f32([2, 65], uniform(-1e4, 1e4)), f32([2])] },
  ),
);

/** Few distinct logits, so that labels often share the largest: the first one counts. */
const coarse: Draw = (rng, size) => Float64Array.from({ length: size }, () => rng.below(3));

const crossEntropyIntoCases: OpCase[] = vocabularies.flatMap(([n, v]) => [
  opCase(
    ops.crossEntropyIntoOp,
    `${n}x${v}`,
    [i32([n], labels(v))],
    { scale: v % 2 ? 1 : 0.25 },
    float32Kernel,
    { targets: [f32([n, v], normal(2)), f32([n])] },
  ),
  ...[{}, { softcap: 0.5, smoothing: 0.1 }].map((options) =>
    opCase(
      ops.crossEntropyIntoOp,
      `${n}x${v}-ranked${options.softcap ? '-capped' : ''}`,
      [i32([n], labels(Math.min(v, 4)))],
      { ...options, scale: 1 },
      float32Kernel,
      { targets: [f32([n, v], coarse), f32([n]), f32([n])] },
    ),
  ),
]);

const exact = { abs: 0, rel: 0 };

const labelIsTopCases: OpCase[] = vocabularies.flatMap(([n, v]) =>
  (
    [
      ['', normal()],
      ['-ties', coarse],
    ] as const
  ).map(([tag, draw]) =>
    opCase(
      ops.labelIsTopOp,
      `${n}x${v}${tag}`,
      [f32([n, v], draw), i32([n], labels(Math.min(v, 4)))],
      {},
      exact,
    ),
  ),
);

const rowStatisticsCases: OpCase[] = [
  ...vocabularies.flatMap(([n, v]) =>
    [{}, { softcap: 1.5 }].map((attrs) =>
      opCase(
        ops.rowStatisticsOp,
        `${n}x${v}${attrs.softcap ? '-capped' : ''}`,
        [f32([n, v], normal(3)), i32([n], labels(v))],
        attrs,
        float32Kernel,
      ),
    ),
  ),
  ...(
    [
      // Masked logits add nothing to an entropy; the mean is -inf, as it is.
      ['masked', 0.5, Number.NEGATIVE_INFINITY, -2, 1, Number.NEGATIVE_INFINITY, 3],
      ['masked-first', Number.NEGATIVE_INFINITY, -1e30, 4, 3.5, Number.NEGATIVE_INFINITY],
      // Exponentials of these overflow.
      ['huge', 1e30, 3e37, -2e38, 1e10, 0],
      ['equal', -7e4],
    ] as const
  ).map(([tag, ...row]) =>
    opCase(
      ops.rowStatisticsOp,
      tag,
      [f32([4, 300], values(...row)), i32([4], labels(300))],
      {},
      float32Kernel,
    ),
  ),
];

/** Rows below, at and above a chunk, with and without gradients. */
const linearCrossEntropyCases: OpCase[] = [1, 64, 65, 200].flatMap((n) =>
  (
    [
      [false, false],
      [true, false],
      [true, true],
    ] as const
  ).map(([toHidden, toWeight]) =>
    opCase(
      ops.linearCrossEntropyOp,
      `${n}${toHidden ? '-hidden' : ''}${toWeight ? '-weight' : ''}`,
      [f32([n, 12]), f32([37, 12]), i32([n], labels(37))],
      { toHidden, toWeight, countCorrect: n !== 64 },
      float32Kernel,
    ),
  ),
);

/**
 * Rows below, at and above a chunk; each form of the loss; with and without what the backward pass
 * needs.
 */
const linearCrossEntropyRowsCases: OpCase[] = [1, 64, 65, 200].flatMap((n) =>
  [
    { toHidden: false, ranked: n !== 64 },
    { toHidden: true, ranked: n === 65 },
    { toHidden: true, ranked: true, softcap: 1.5 },
    { toHidden: false, ranked: n === 64, statistics: true },
    { toHidden: true, ranked: n === 65, statistics: true, softcap: 1.5 },
  ].map(({ statistics = false, ...attrs }) =>
    opCase(
      ops.linearCrossEntropyRowsOp,
      `${n}${attrs.toHidden ? '-hidden' : ''}${attrs.ranked ? '-ranked' : ''}${attrs.softcap ? '-capped' : ''}${statistics ? '-statistics' : ''}`,
      [f32([n, 12], normal(0.5)), f32([37, 12]), i32([n], labels(37))],
      { compute: 'float32', statistics, ...attrs },
      float32Kernel,
    ),
  ),
);

const eps = Math.fround(1e-5);
const weight = uniform(0.5, 1.5);
const dtypes: readonly DType[] = ['float32', 'float16', 'bfloat16'];
const tagged = (shape: Shape, dtype: DType) =>
  dtype === 'float32' ? label(shape) : `${label(shape)}-${dtype}`;

/** Outputs 1 and on of an op: the statistics that its gradient op reads. */
const statistics = (
  [x]: readonly Tensor[],
  run: (x: Tensor) => readonly Tensor[],
): readonly Tensor[] => run(x!).slice(1);

const normCases: OpCase[] = dtypes.flatMap((dtype) =>
  (dtype === 'float32' ? shapes : shapes.slice(1, 4)).flatMap((shape) => {
    const w = operand(dtype, [last(shape)], weight);
    const b = operand(dtype, [last(shape)]);
    const name = tagged(shape, dtype);
    // A row of one element has no variance: 1/sqrt(eps) = 316 multiplies every rounding.
    const layerTolerance = last(shape) === 1 ? scaled(float32Kernel, 316) : float32Kernel;
    return [
      opCase(ops.rmsNormOp, name, [f32(shape), w], { eps }, float32Kernel),
      opCase(ops.rmsNormGradOp, name, [f32(shape), w, f32(shape)], {}, scaled(float32Kernel, 2), {
        derive: ([x, scale, g]) => [
          x!,
          scale!,
          ...statistics([x!], (t) => t.engine.run(ops.rmsNormOp, [t, scale!], { eps })),
          g!,
        ],
      }),
      opCase(ops.addRmsNormOp, name, [f32(shape), f32(shape), w], { eps }, float32Kernel),
      opCase(
        ops.rmsNormGradOp,
        `${name}-carry`,
        [f32(shape), w, f32(shape), f32(shape)],
        {},
        scaled(float32Kernel, 2),
        {
          derive: ([x, scale, g, carry]) => [
            x!,
            scale!,
            ...statistics([x!], (t) => t.engine.run(ops.rmsNormOp, [t, scale!], { eps })),
            g!,
            carry!,
          ],
        },
      ),
      opCase(ops.layerNormOp, name, [f32(shape), w, b], { eps }, layerTolerance),
      opCase(ops.layerNormGradOp, name, [f32(shape), w, f32(shape)], {}, layerTolerance, {
        derive: ([x, scale, g]) => [
          x!,
          scale!,
          ...statistics([x!], (t) => t.engine.run(ops.layerNormOp, [t, scale!, scale!], { eps })),
          g!,
        ],
      }),
    ];
  }),
);

const offsetCases: OpCase[] = [
  // Small rows: eps decides.
  opCase(
    ops.rmsNormOp,
    'tiny',
    [f32([3, 33], normal(1e-3)), f32([33], weight)],
    { eps },
    float32Kernel,
  ),
  // A large mean: mean(x^2) - mean(x)^2 would cancel. 1000 has an ulp of 6e-5, the deviation is 1.
  opCase(
    ops.layerNormOp,
    'large-mean',
    [f32([3, 64], uniform(999, 1001)), f32([64], weight), f32([64])],
    { eps },
    { abs: 1e-3, rel: 1e-4 },
  ),
];

const weightGradCases: OpCase[] = [
  [1, 1],
  [3, 63],
  [65, 64],
  [200, 5],
  [0, 8],
].map(([n, width]) =>
  opCase(
    ops.rmsNormWeightGradOp,
    `${n}x${width}`,
    [f32([n!, width!]), f32([n!], uniform(0.5, 1.5)), f32([n!, width!])],
    {},
    float32Kernel,
  ),
);

const swigluCases: OpCase[] = [[1], [63], [64], [65], [3, 5, 172], [0]].flatMap((shape) => [
  opCase(ops.swigluOp, label(shape), [f32(shape, normal(2)), f32(shape)], {}, float32Kernel),
  opCase(
    ops.swigluGradOp,
    label(shape),
    [f32(shape, normal(2)), f32(shape), f32(shape)],
    {},
    float32Kernel,
  ),
]);

const gegluCases: OpCase[] = [[1], [65], [3, 5, 172], [0]].flatMap((shape) =>
  (['none', 'tanh'] as const).flatMap((approximate) => {
    const name = `${label(shape)}-${approximate}`;
    const gate = f32(shape, normal(2));
    return [
      opCase(ops.gegluOp, name, [gate, f32(shape)], { approximate }, float32Kernel),
      opCase(ops.gegluGradOp, name, [gate, f32(shape), f32(shape)], { approximate }, float32Kernel),
    ];
  }),
);

/** [B, T, H, D] with R of the D features turned, and how many positions the table has. */
const ropeShapes: readonly (readonly [Shape, number, number])[] = [
  [[1, 1, 1, 2], 2, 4],
  [[2, 5, 3, 8], 8, 64],
  [[2, 17, 4, 16], 16, 33],
  [[1, 65, 2, 64], 64, 65],
  [[2, 5, 2, 8], 4, 20],
];

/** cos and sin of random angles; float32 tables, so a rotation costs three roundings. */
const ropeCases: OpCase[] = ropeShapes.flatMap(([shape, turned, positions]) =>
  [false, true].map((inverse) =>
    opCase(
      ops.ropeOp,
      `${label(shape)}-R${turned}${inverse ? '-inverse' : ''}`,
      [
        f32(shape),
        f32([positions, turned / 2], uniform(-Math.PI, Math.PI)),
        i32(shape.slice(0, 2), below(positions)),
      ],
      { inverse },
      { abs: 2e-6, rel: 1e-6 },
      { derive: ([x, angles, at]) => [x!, angles!.cos(), angles!.sin(), at!] },
    ),
  ),
);

const ropePairCases: OpCase[] = ropeShapes.flatMap(([[b, t, heads, depth], turned, positions]) =>
  [false, true].map((inverse) =>
    opCase(
      ops.ropePairOp,
      `${b}x${t}x${heads}+1x${depth}-R${turned}${inverse ? '-inverse' : ''}`,
      [
        f32([b!, t!, heads!, depth!]),
        f32([b!, t!, 1, depth!]),
        f32([positions, turned / 2], uniform(-Math.PI, Math.PI)),
        i32([b!, t!], below(positions)),
      ],
      { inverse },
      { abs: 2e-6, rel: 1e-6 },
      { derive: ([q, k, angles, at]) => [q!, k!, angles!.cos(), angles!.sin(), at!] },
    ),
  ),
);

export const rowwiseCases: readonly OpCase[] = [
  ...softmaxCases,
  ...crossEntropyCases,
  ...crossEntropyIntoCases,
  ...lossFormCases,
  ...labelIsTopCases,
  ...rowStatisticsCases,
  ...linearCrossEntropyCases,
  ...linearCrossEntropyRowsCases,
  ...normCases,
  ...weightGradCases,
  ...offsetCases,
  ...swigluCases,
  ...gegluCases,
  ...ropeCases,
  ...ropePairCases,
];

import * as ops from '../../tensor/ops/index.js';
import { splitAxes } from '../../tensor/ops/index.js';
import type { Shape } from '../../tensor/shape.js';
import { type Draw, exact, f32, normal, type OpCase, opCase, operand, sumOf } from '../opCase.js';

/** [shape, first axis, after the last axis]: rows, columns, the middle, everything. */
const reductions: readonly (readonly [Shape, number, number])[] = [
  [[1], 0, 1],
  [[63], 0, 1],
  [[64], 0, 1],
  [[65], 0, 1],
  [[5000], 0, 1],
  [[5, 33], 1, 2],
  [[5, 33], 0, 1],
  [[300, 3], 0, 1],
  [[3, 4, 65], 0, 2],
  [[3, 70, 5], 1, 2],
  [[2, 3, 4, 5], 1, 3],
  [[130, 64], 1, 2],
  [[0, 4], 1, 2],
];

/** Few distinct numbers, so that many are the largest: argmax takes the first. */
const coarse: Draw = (rng, size) => Float64Array.from({ length: size }, () => rng.below(4) - 6);

const label = ([shape, start, end]: (typeof reductions)[number]) =>
  `${shape.join('x')}-axes${start}to${end}`;

export const reduceCases: readonly OpCase[] = [
  ...reductions.map((r) =>
    opCase(
      ops.sumOp,
      label(r),
      [f32(r[0])],
      { start: r[1], end: r[2] },
      sumOf(splitAxes(r[0], { start: r[1], end: r[2] }).reduced),
    ),
  ),
  ...(['float16', 'bfloat16'] as const).map((dtype) =>
    opCase(ops.sumOp, `5x33-${dtype}`, [operand(dtype, [5, 33])], { start: 1, end: 2 }, sumOf(33)),
  ),
  ...[ops.maxOp, ops.argmaxOp].flatMap((op) =>
    reductions.flatMap((r) =>
      (
        [
          ['', normal()],
          ['-ties', coarse],
        ] as const
      ).map(([tag, draw]) =>
        opCase(op, `${label(r)}${tag}`, [f32(r[0], draw)], { start: r[1], end: r[2] }, exact),
      ),
    ),
  ),
];

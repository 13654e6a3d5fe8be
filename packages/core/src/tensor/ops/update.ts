import { AttuneError } from '../../util/errors.js';
import { defineOp, type TensorSpec } from '../op.js';
import { formatShape, numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Ops that write into tensors that exist. They are never recorded on the tape. */

const sameSize = (op: string) => (specs: readonly TensorSpec[]) => {
  const [source, target] = specs as [TensorSpec, TensorSpec];
  if (numel(source.shape) !== numel(target.shape))
    throw new AttuneError(
      'SHAPE_MISMATCH',
      `${op}: ${formatShape(source.shape)} does not fit into ${formatShape(target.shape)}.`,
      { remedy: 'Both need the same number of elements.' },
    );
  return [];
};

export const fillOp = defineOp<{ value: number }>({
  name: 'fill',
  infer: () => [],
  reference: ({ outputs, attrs }) => void outputs[0]!.data.fill(attrs.value),
});

/** target = value, everywhere. */
export function fill(target: Tensor, value: number): void {
  target.engine.runInto(fillOp, [], [target], { value });
}

export const assignOp = defineOp({
  name: 'assign',
  infer: sameSize('assign'),
  reference: ({ inputs, outputs }) => outputs[0]!.data.set(inputs[0]!.data),
});

/** target = source, converting the dtype. Both keep their own memory. */
export function assign(target: Tensor, source: Tensor): void {
  target.engine.runInto(assignOp, [source], [target], {});
}

export const accumulateOp = defineOp<{ scale: number }>({
  name: 'accumulate',
  infer: (specs) => {
    const fits = specs[1]!.dtype === 'float32';
    requireFit(
      fits,
      'accumulate',
      specs,
      'Accumulate in float32: a 16-bit sum rounds small terms away',
    );
    return sameSize('accumulate')(specs);
  },
  reference: ({ inputs, outputs, attrs }) => {
    const target = outputs[0]!.data;
    const source = inputs[0]!.data;
    for (let i = 0; i < target.length; i++) target[i] = target[i]! + attrs.scale * source[i]!;
  },
});

/** target += scale * source; the target is float32. */
export function accumulate(target: Tensor, source: Tensor, scale = 1): void {
  target.engine.runInto(accumulateOp, [source], [target], { scale });
}

/** Sources, and as many targets in the same order. */
export const writeRowsOp = defineOp<{ start: number }>({
  name: 'writeRows',
  infer: (specs, { start }) => {
    const pairs = specs.length / 2;
    for (let i = 0; i < pairs; i++) {
      const [source, target] = [specs[i]!, specs[pairs + i]!];
      const [b, t, ...rest] = source.shape;
      const [bTarget, capacity, ...restTarget] = target.shape;
      if (b !== bTarget || start + t! > capacity! || rest.join() !== restTarget.join())
        throw new AttuneError(
          'SHAPE_MISMATCH',
          `writeRows: ${formatShape(source.shape)} at row ${start} does not fit into ${formatShape(target.shape)}.`,
          { remedy: 'Allocate the cache for maxLength positions.' },
        );
    }
    return [];
  },
  reference: ({ inputs, outputs, attrs }) => {
    for (const [i, { shape, data }] of inputs.entries()) {
      const [b, t, ...rest] = shape;
      const target = outputs[i]!;
      const capacity = target.shape[1]!;
      const width = rest.reduce((n, d) => n * d, 1);
      for (let row = 0; row < b!; row++) {
        const source = data.subarray(row * t! * width, (row + 1) * t! * width);
        target.data.set(source, (row * capacity + attrs.start) * width);
      }
    }
  },
});

/**
 * target[:, start : start + T] = source; source [B, T, ...], target [B, S, ...]. For key/value
 * caches.
 */
export function writeRows(target: Tensor, source: Tensor, start: number): void {
  target.engine.runInto(writeRowsOp, [source], [target], { start });
}

/** The same for two targets at once, each with its own source. */
export function writeRowsPair(
  targets: readonly [Tensor, Tensor],
  sources: readonly [Tensor, Tensor],
  start: number,
): void {
  targets[0].engine.runInto(writeRowsOp, [...sources], [...targets], { start });
}

import { numel, ops } from '@attune/core';
import { type Attrs, bytesPerElement, type OpCall, type Operand } from '@attune/core/backend';
import type { Room, Splitter } from './splitter.js';
import {
  bytesOf,
  gcd,
  type Needs,
  type Range,
  rangesOf,
  rowBytes,
  rowsOf,
  windowOf,
} from './window.js';

/** The right operand: rows that lie one after another, [n, k] transposed or [k, n]. */
interface Right {
  /** What a range of its rows needs. */
  readonly needs: Needs;
  rows(range: Range): { readonly inputs: readonly Operand[]; readonly attrs: Attrs };
  readonly whole: readonly Operand[];
  readonly isLarge: boolean;
}

/** scale a b + an addend, of two matrices. */
interface Product {
  readonly call: OpCall;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** [m, k], or transposed. */
  readonly a: Operand;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly right: Right;
  /** [m, n] or [n]. */
  readonly addend: readonly Operand[];
  readonly out: Operand;
}

export const matmul: Splitter = (call, room) => {
  const attrs = call.attrs as unknown as ops.MatmulAttrs;
  const { transposeA, transposeB } = attrs;
  const [a, b, ...addend] = call.inputs as [Operand, Operand, ...Operand[]];
  const sizes = ops.matmulSizes(a.shape, b.shape, attrs);
  if (sizes.batchOther > 1 || (transposeA && sizes.batch > 1)) return null;
  const { n, k } = sizes;
  const m = sizes.m * sizes.batch;
  const matrix = windowOf(b, 0, transposeB ? [n, k] : [k, n]);
  return split(
    {
      call,
      ...{ m, n, k, transposeA, transposeB },
      a: windowOf(a, 0, transposeA ? [k, m] : [m, k]),
      addend: addend.map((o) => flattened(o, m, n)),
      out: flattened(call.outputs[0]!, m, n),
      right: {
        needs: { windows: [rowBytes(matrix)] },
        rows: (range) => ({ inputs: [rowsOf(matrix, range)], attrs: {} }),
        whole: [matrix],
        isLarge: bytesOf(b) > room.limit,
      },
    },
    room,
  );
};

export const quantizedMatmul: Splitter = (call, room) => {
  const attrs = call.attrs as unknown as ops.QuantizedMatmulAttrs;
  const { outFeatures, inFeatures, bits, blockSize, nested, transposed } = attrs;
  const [x, ...rest] = call.inputs as [Operand, ...Operand[]];
  const parts = rest.slice(0, ops.partCount(attrs));
  const addend = rest.slice(ops.partCount(attrs));
  if (nested) {
    const plain = unnested(parts, attrs, outFeatures * inFeatures, room);
    const inputs = [x, ...plain.parts, ...addend];
    return [plain.before, { ...call, inputs, attrs: { ...attrs, nested: false, offset: 0 } }];
  }
  const [k, n] = transposed ? [outFeatures, inFeatures] : [inFeatures, outFeatures];
  const m = numel(x.shape.slice(0, -1));
  const unit = numbersUnit(attrs);
  return split(
    {
      call,
      ...{ m, n, k, transposeA: false, transposeB: !transposed },
      a: windowOf(x, 0, [m, k]),
      addend: addend.map((o) => flattened(o, m, n)),
      out: flattened(call.outputs[0]!, m, n),
      right: {
        needs: {
          windows: [],
          copies: [inFeatures * (room.isStaged ? 4 : Math.max(bits / 8, 4 / blockSize))],
          unit: unit / gcd(unit, inFeatures),
        },
        rows: ({ first, count }) => ({
          inputs: partsWindow(parts, attrs, first * inFeatures, count * inFeatures),
          attrs: { outFeatures: count },
        }),
        whole: parts,
        isLarge:
          parts.some((part) => bytesOf(part) > room.limit) ||
          (room.isStaged && 4 * outFeatures * inFeatures > room.limit),
      },
    },
    room,
  );
};

export const dequantize: Splitter = (call, room) => {
  const attrs = call.attrs as unknown as ops.DequantizeAttrs;
  const out = call.outputs[0]!;
  const size = numel(out.shape);
  if (attrs.nested) {
    const { before, parts } = unnested(call.inputs, attrs, size, room);
    return [
      before,
      { ...call, inputs: parts, attrs: { ...attrs, nested: false, offset: 0 } as Attrs },
    ];
  }
  const ranges = rangesOf(size, room.limit, {
    windows: [bytesPerElement[out.dtype]],
    unit: numbersUnit(attrs),
  });
  return (
    ranges?.map(({ first, count }) => ({
      op: call.op,
      inputs: partsWindow(call.inputs, attrs, first, count),
      outputs: [windowOf(out, first, [count])],
      attrs: { ...attrs, shape: [count] } as Attrs,
    })) ?? null
  );
};

/** Numbers whose codes and scales both end where a window may start. */
function numbersUnit({ bits, blockSize }: ops.QuantizedAttrs): number {
  const [codes, scales] = [2048 / bits, 64 * blockSize];
  return (codes / gcd(codes, scales)) * scales;
}

/** Codes, scales and map of the numbers from `first` on. */
function partsWindow(
  [codes, absmax, map]: readonly Operand[],
  { bits, blockSize }: ops.QuantizedAttrs,
  first: number,
  count: number,
): Operand[] {
  return [
    windowOf(codes!, (first * bits) / 32, [Math.ceil((count * bits) / 32)]),
    windowOf(absmax!, first / blockSize, [Math.ceil(count / blockSize)]),
    map!,
  ];
}

/** Scales that are codes themselves, made float32 once for all parts. */
function unnested(
  [codes, absmax, map, nestedAbsmax, nestedMap]: readonly Operand[],
  { blockSize, offset }: ops.QuantizedAttrs,
  size: number,
  room: Room,
): { readonly before: OpCall; readonly parts: readonly Operand[] } {
  const scales = room.scratch(Math.ceil(size / blockSize), 'float32');
  const before = {
    op: 'dequantizeScales',
    inputs: [absmax!, nestedAbsmax!, nestedMap!],
    outputs: [scales],
    attrs: { offset },
  };
  return { before, parts: [codes!, scales, map!] };
}

const flattened = (o: Operand, m: number, n: number): Operand =>
  o.shape.length === 1 ? o : windowOf(o, 0, [m, n]);

/**
 * Rows of the result where they are windows of all operands; else ranges of the rows of b, which
 * are columns of the result or summands of it.
 */
function split(product: Product, room: Room): OpCall[] | null {
  const { a, out, addend, right, transposeA, transposeB } = product;
  const isLarge = (o: Operand) => bytesOf(o) > room.limit;
  const isTall = [out, ...addend].some(isLarge);
  if (!transposeA && (isTall || isLarge(a))) {
    const parts = byRows(product, room);
    if (parts) return parts;
  }
  if (right.isLarge) return transposeB ? byColumns(product, room) : bySummands(product, room);
  if (transposeA && isLarge(a)) return bySummands(product, room);
  return transposeA && isTall ? byRows(product, room) : null;
}

const plainSlice = (x: Operand, out: Operand, { first, count }: Range): OpCall => ({
  op: 'slice',
  inputs: [x],
  outputs: [out],
  attrs: { axis: 1, start: first, end: first + count },
});

/** Ranges of m. A transposed a gives its columns by a copy. */
function byRows(product: Product, room: Room): OpCall[] | null {
  const { call, a, m, k, out, right, addend, transposeA } = product;
  const matrices = addend.filter(({ shape }) => shape.length > 1);
  const aBytes = k * bytesPerElement[a.dtype];
  const ranges = rangesOf(m, room.limit, {
    windows: [...(transposeA ? [] : [aBytes]), ...[out, ...matrices].map(rowBytes)],
    copies: [aBytes],
  });
  if (!ranges || ranges.length < 2) return null;
  const columns = transposeA ? room.scratch(k * ranges[0]!.count, a.dtype) : null;
  return ranges.flatMap((range) => {
    const copy = columns && windowOf(columns, 0, [k, range.count]);
    const part = {
      op: call.op,
      inputs: [
        copy ?? rowsOf(a, range),
        ...right.whole,
        ...addend.map((o) => (o.shape.length > 1 ? rowsOf(o, range) : o)),
      ],
      outputs: [rowsOf(out, range)],
      attrs: call.attrs,
    };
    return copy ? [plainSlice(a, copy, range), part] : [part];
  });
}

/** Ranges of n, rows of b: columns of the result, made apart and put into their place. */
function byColumns(product: Product, room: Room): OpCall[] | null {
  const { call, a, m, n, out, right, addend } = product;
  const isRow = m === 1;
  // Columns of one row are a window; so are those of a bias.
  const bytes = [out, ...addend].map(({ dtype }) => bytesPerElement[dtype]);
  const direct = [out, ...addend].filter(({ shape }) => isRow || shape.length === 1);
  const ranges = rangesOf(n, room.limit, {
    ...right.needs,
    windows: [...right.needs.windows, ...direct.map(({ dtype }) => bytesPerElement[dtype])],
    copies: [...(right.needs.copies ?? []), ...bytes.map((b) => m * b)],
  });
  if (!ranges) return null;
  const size = m * ranges[0]!.count;
  const made = isRow ? null : room.scratch(size, 'float32');
  const added = addend.map((o) =>
    isRow || o.shape.length === 1 ? null : room.scratch(size, o.dtype),
  );
  const { accumulate } = call.attrs;
  return ranges.flatMap((range) => {
    const { first, count } = range;
    const shape = [m, count];
    const target = made ? windowOf(made, 0, shape) : windowOf(out, first, shape);
    const steps: OpCall[] = [];
    if (made && accumulate) steps.push(plainSlice(out, target, range));
    const more = addend.map((o, i) => {
      if (!added[i]) return windowOf(o, first, o.shape.length === 1 ? [count] : shape);
      const copy = windowOf(added[i], 0, shape);
      steps.push(plainSlice(o, copy, range));
      return copy;
    });
    const { inputs, attrs } = right.rows(range);
    steps.push({
      op: call.op,
      inputs: [a, ...inputs, ...more],
      outputs: [target],
      attrs: { ...call.attrs, ...attrs },
    });
    if (made)
      steps.push({ op: 'writeRows', inputs: [target], outputs: [out], attrs: { start: first } });
    return steps;
  });
}

/** Ranges of k, rows of b or of a transposed a: each adds to what the ones before made. */
function bySummands(product: Product, room: Room): OpCall[] | null {
  const { call, a, m, n, k, right, addend, out, transposeA, transposeB } = product;
  const isRow = m === 1 && !transposeA;
  const aBytes = m * bytesPerElement[a.dtype];
  const { windows, copies = [], unit = 1 } = transposeB ? { windows: [] } : right.needs;
  const ranges = rangesOf(k, room.limit, {
    windows: [...windows, ...(transposeA || isRow ? [aBytes] : [])],
    copies: [...copies, aBytes],
    unit,
  });
  // A b whose rows are not those of k: its columns, copied; quantised ones cannot be.
  if (!ranges || (transposeB && right.whole.length > 1)) return null;
  const most = ranges[0]!.count;
  const aColumns = transposeA || isRow ? null : room.scratch(m * most, a.dtype);
  const b = right.whole[0]!;
  const bColumns = transposeB ? room.scratch(n * most, b.dtype) : null;
  return ranges.flatMap((range) => {
    const { first, count } = range;
    const steps: OpCall[] = [];
    const copied = (x: Operand, scratch: Operand, rows: number) => {
      const copy = windowOf(scratch, 0, [rows, count]);
      steps.push(plainSlice(x, copy, range));
      return copy;
    };
    const ofA = transposeA
      ? rowsOf(a, range)
      : aColumns
        ? copied(a, aColumns, m)
        : windowOf(a, first, [1, count]);
    const { inputs, attrs } = bColumns
      ? { inputs: [copied(b, bColumns, n)], attrs: {} }
      : right.rows(range);
    const part = first === 0 ? {} : { accumulate: true };
    steps.push({
      op: call.op,
      inputs: [ofA, ...inputs, ...(first === 0 ? addend : [])],
      outputs: [out],
      attrs: { ...call.attrs, ...attrs, ...part },
    });
    return steps;
  });
}

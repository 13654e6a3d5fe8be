import { numel } from '@attune/core';
import type { OpCall, Operand } from '@attune/core/backend';
import { grid1d, type Param, type Stage, u32 } from './kernel.js';
import { perLane, storeEach } from './shader.js';
import { type Bound, readAs, stage } from './stage.js';

/** Whether a call can take four elements at a time. */
export const isVec4 = (call: OpCall): boolean =>
  [...call.inputs, ...call.outputs].every((o) => o.dtype === 'float32') &&
  numel(call.outputs[0]!.shape) % 4 === 0;

/**
 * A stage over n elements of one output, `out`. In the declarations `T` is f32 or vec4f, and `U`
 * its bits.
 */
export function pointwise(
  call: OpCall,
  name: string,
  options: {
    vec4: boolean;
    reads: Readonly<Record<string, Operand>>;
    params?: Readonly<Record<string, Param>>;
    /** Declares `value(i)`. */
    declarations: string;
  },
): Stage[] {
  const out = call.outputs[0]!;
  const n = numel(out.shape);
  const { vec4, reads, params = {}, declarations } = options;
  const accesses = (operands: readonly Operand[]) =>
    operands.map(({ dtype }) => (vec4 ? 'vec4' : dtype)).join();
  const bound = (operands: Readonly<Record<string, Operand>>): Record<string, Bound> =>
    vec4 ? readAs('vec4', operands) : operands;
  return [
    stage({
      key: `${name}:${accesses(Object.values(reads))}>${accesses([out])}`,
      reads: bound(reads),
      writes: bound({ out }),
      params: { n: u32(vec4 ? n / 4 : n), ...params },
      workgroup: 64,
      declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};\nalias U = ${vec4 ? 'vec4u' : 'u32'};\n${declarations}`,
      body: storeEach(vec4 ? 'float32' : out.dtype),
      grid: grid1d(n / (vec4 ? 4 : perLane(out.dtype)), 64),
    }),
  ];
}

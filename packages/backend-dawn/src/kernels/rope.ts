import { numel } from '@attune/core';
import type { Operand } from '@attune/core/backend';
import { defineKernel, f32, grid1d, type Kernel, type Stage, u32 } from './kernel.js';
import { named, readAs, stage } from './stage.js';

/** Turns 1 or 2 tensors [B, T, H, D] of one head size: queries, or queries and keys. */
function ropeStage(
  op: string,
  turned: readonly Operand[],
  tables: readonly Operand[],
  outputs: readonly Operand[],
  inverse: boolean,
): Stage {
  const [cos, sin, positions] = tables as [Operand, Operand, Operand];
  const heads = turned.map((x) => x.shape[2]!);
  const allHeads = heads.reduce((n, h) => n + h, 0);
  const pairs = cos.shape[1]!;
  const operands = [...turned, ...outputs, cos, sin];
  const vec4 =
    pairs % 4 === 0 &&
    turned[0]!.shape[3]! % 4 === 0 &&
    operands.every(({ dtype }) => dtype === 'float32');
  const step = vec4 ? 4 : 1;
  const depth = turned[0]!.shape[3]! / step;
  const half = pairs / step;
  // A lane turns one pair, or four; features beyond 2 * half pass through.
  const perHead = Math.max(half, depth - half);
  const n = numel(positions.shape) * allHeads * perHead;
  const names = ['q', 'k'];
  const body = (x: string) => `
    if (i < p.half_) {
      let at = u32(positions(token)) * p.half_ + i;
      let c = cosines(at);
      let s = sines(at) * p.turn;
      let a = ${x}(first + i);
      let b = ${x}(first + i + p.half_);
      ${x}Out[first + i] = a * c - b * s;
      ${x}Out[first + i + p.half_] = b * c + a * s;
    }
    if (beyond < p.depth) { ${x}Out[first + beyond] = ${x}(first + beyond); }`;
  const first = `let first = (token * p.heads + head) * p.depth;${body('q')}`;
  const second = `let first = (token * (p.allHeads - p.heads) + head - p.heads) * p.depth;${body('k')}`;
  const bound = (operands: Readonly<Record<string, Operand>>) =>
    vec4 ? readAs('vec4', operands) : operands;
  return stage({
    key: vec4 ? `${op}:vec4` : op,
    reads: {
      ...bound({ ...named(turned, ...names), cosines: cos, sines: sin }),
      positions,
    },
    writes: bound(named(outputs, ...names.map((name) => `${name}Out`))),
    params: {
      n: u32(n),
      heads: u32(heads[0]!),
      allHeads: u32(allHeads),
      depth: u32(depth),
      half_: u32(half),
      perHead: u32(perHead),
      turn: f32(inverse ? -1 : 1),
    },
    workgroup: 64,
    body: `  if (gid >= p.n) { return; }
  let i = gid % p.perHead;
  let beyond = i + 2u * p.half_;
  let head = gid / p.perHead % p.allHeads;
  let token = gid / p.perHead / p.allHeads;
  ${turned.length === 1 ? first : `if (head < p.heads) { ${first} } else { ${second} }`}`,
    grid: grid1d(n, 64),
  });
}

const ropeKernel = defineKernel({
  op: 'rope',
  plan: ({ inputs: [x, ...tables], outputs, attrs }) => [
    ropeStage('rope', [x!], tables, outputs, attrs.inverse as boolean),
  ],
});

const ropePairKernel = defineKernel({
  op: 'ropePair',
  accepts: ({ inputs: [q, k] }) => q!.shape[3] === k!.shape[3],
  plan: ({ inputs: [q, k, ...tables], outputs, attrs }) => [
    ropeStage('ropePair', [q!, k!], tables, outputs, attrs.inverse as boolean),
  ],
});

/** Rotary embeddings. */
export const ropeKernels: readonly Kernel[] = [ropeKernel, ropePairKernel];

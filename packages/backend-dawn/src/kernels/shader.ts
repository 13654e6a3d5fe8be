import type { DType } from '@attune/core';

/**
 * How a buffer is declared and read. `vec4`: four float32 at a time; `words2`: four 16-bit floats,
 * two to a word.
 */
export type Access = DType | 'vec4' | 'words2';

/** A buffer under the name that a shader gives it. */
export interface Declared {
  readonly name: string;
  readonly access: Access;
}

export interface ShaderSource {
  /** Buffers in binding order, those that are only read first. */
  readonly reads: readonly Declared[];
  readonly writes: readonly Declared[];
  /** Fields of `Params`, in order: name -> type. */
  readonly params: Readonly<Record<string, 'u32' | 'f32'>>;
  readonly workgroup: number;
  readonly subgroups?: boolean;
  /** Lanes that subgroups shall have; undefined where they have no other number. */
  readonly subgroupSize?: number | undefined;
  /** Further directives of WGSL, e.g. `enable f16;`. */
  readonly directives?: readonly string[];
  /** Declarations before `main`: helper functions, workgroup memory. */
  readonly declarations: string;
  /** The body of `main`; see {@link stage}. */
  readonly body: string;
}

const element: Readonly<Record<Access, string>> = {
  float32: 'f32',
  int32: 'i32',
  uint32: 'u32',
  float16: 'u32', // two in a word
  bfloat16: 'u32',
  vec4: 'vec4f',
  words2: 'vec2u',
};

/** `name(i)`: element i of an input, 16-bit floats widened. The array itself is `nameData`. */
function loader({ name, access }: Declared): string {
  const word = `${name}Data[i >> 1u]`;
  switch (access) {
    case 'float16':
      return `fn ${name}(i: u32) -> f32 { return unpack2x16float(${word})[i & 1u]; }`;
    case 'bfloat16':
      return `fn ${name}(i: u32) -> f32 { return bitcast<f32>(select(${word} << 16u, ${word} & 0xffff0000u, (i & 1u) == 1u)); }`;
    default:
      return `fn ${name}(i: u32) -> ${element[access]} { return ${name}Data[i]; }`;
  }
}

/** The whole WGSL module around a body. */
export function shader(source: ShaderSource): string {
  const { reads, writes, params, workgroup, declarations, body } = source;
  const asked = source.subgroups ? source.subgroupSize : undefined;
  const directives = [
    ...(source.subgroups ? ['enable subgroups;'] : []),
    ...(asked ? ['enable subgroup_size_control;'] : []),
    ...(source.directives ?? []),
  ];
  const bindings = [
    ...reads.map(
      ({ name, access }, i) =>
        `@group(0) @binding(${i}) var<storage, read> ${name}Data: array<${element[access]}>;`,
    ),
    ...writes.map(
      ({ name, access }, i) =>
        `@group(0) @binding(${reads.length + i}) var<storage, read_write> ${name}: array<${element[access]}>;`,
    ),
  ];
  const fields = Object.entries(params).map(([name, type]) => `${name}: ${type},`);
  return `${directives.map((line) => `${line}\n`).join('')}requires immediate_address_space;
struct Params { ${fields.length ? fields.join(' ') : 'unused: u32,'} }
var<immediate> p: Params;
${bindings.join('\n')}
${reads.map(loader).join('\n')}
fn packBfloat16(v: f32) -> u32 {
  let u = bitcast<u32>(v);
  if ((u & 0x7fffffffu) > 0x7f800000u) { return (u >> 16u) | 0x40u; }
  return (u + 0x7fffu + ((u >> 16u) & 1u)) >> 16u;
}
fn packFloat16(v: f32) -> u32 {
  let u = bitcast<u32>(v);
  let sign = (u >> 16u) & 0x8000u;
  let m = u & 0x7fffffffu;
  if (m > 0x7f800000u) { return sign | 0x7e00u; }
  if (m >= 0x477ff000u) { return sign | 0x7c00u; }
  if (m < 0x38800000u) {
    // Below the normal halves: count in steps of 2^-24; adding 1.5 * 2^23 rounds to nearest even.
    let steps = bitcast<f32>(m) * 16777216.0;
    let low = u32(steps);
    let rest = steps - f32(low);
    let up = rest > 0.5 || (rest == 0.5 && (low & 1u) == 1u);
    return sign | (low + select(0u, 1u, up));
  }
  let r = m - 0x38000000u;
  return sign | ((r + 0xfffu + ((r >> 13u) & 1u)) >> 13u);
}
${declarations}
@compute @workgroup_size(${workgroup})${asked ? ` @subgroup_size(${asked})` : ''}
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  let gid = group * ${workgroup}u + lane;
${body}
}
`;
}

/** How many elements one lane makes: 16-bit results are written two to a word. */
export const perLane = (dtype: DType): number =>
  dtype === 'float16' || dtype === 'bfloat16' ? 2 : 1;

/**
 * A body that computes `value(i)` for every i < p.n and stores it as `dtype` into `out`. `value` is
 * declared by the caller and returns f32 (or i32/u32 for integer dtypes).
 */
export function storeEach(dtype: DType): string {
  if (dtype === 'float16' || dtype === 'bfloat16') {
    const pack = dtype === 'float16' ? 'packFloat16' : 'packBfloat16';
    // Above 65504 + half a step the hardware packing is undefined, so packing is done by hand.
    return `  let i = gid * 2u;
  if (i >= p.n) { return; }
  let low = ${pack}(value(i));
  var high = out[gid] >> 16u;
  if (i + 1u < p.n) { high = ${pack}(value(i + 1u)); }
  out[gid] = low | (high << 16u);`;
  }
  return `  if (gid >= p.n) { return; }
  out[gid] = value(gid);`;
}

/**
 * Reductions over the lanes of a workgroup, available to every lane afterwards: in registers when a
 * workgroup is one subgroup, else through workgroup memory.
 */
export function laneReductions(facts: { subgroupSize: number }): {
  workgroup: number;
  subgroups: boolean;
  declarations: string;
} {
  if (facts.subgroupSize > 0)
    return {
      workgroup: facts.subgroupSize,
      subgroups: true,
      declarations: `fn laneSum(v: f32, lane: u32) -> f32 { return subgroupAdd(v); }
fn laneMax(v: f32, lane: u32) -> f32 { return subgroupMax(v); }`,
    };
  const tree = (name: string, combine: string) => `fn ${name}(v: f32, lane: u32) -> f32 {
  shared_[lane] = v;
  workgroupBarrier();
  for (var s = 32u; s > 0u; s >>= 1u) {
    if (lane < s) { shared_[lane] = ${combine}; }
    workgroupBarrier();
  }
  let total = shared_[0];
  workgroupBarrier();
  return total;
}`;
  return {
    workgroup: 64,
    subgroups: false,
    declarations: `var<workgroup> shared_: array<f32, 64>;
${tree('laneSum', 'shared_[lane] + shared_[lane + s]')}
${tree('laneMax', 'max(shared_[lane], shared_[lane + s])')}`,
  };
}

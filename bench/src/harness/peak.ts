import type { DawnBackend, MatrixUnit } from '@attune/backend-dawn';

/** What the device reaches where nothing but arithmetic counts, in GFLOP/s. */
export interface Peak {
  /** Multiply-adds of float32 in registers. */
  readonly float32: number;
  /** Products of float16 on the matrix unit, summed in float32; null where there is none. */
  readonly matrixUnit: number | null;
}

const TURNS = 4096;
/** Workgroups of a dispatch at most: WebGPU allows 65,535. */
const GROUPS = 32768;
const LANES = 64;
/** Chains of four numbers: enough to hide the latency, few enough for 16 registers of a CPU. */
const CHAINS = 3;
/** Turns written out: a turn of the loop costs a software device as much as its arithmetic. */
const UNROLLED = 16;
const MATRICES = 8;
/** Long enough that starting a dispatch does not count. */
const LEAST_MS = 20;

/** Measures the device's arithmetic alone: operands stay in registers, no memory is read. */
export async function probePeak(backend: DawnBackend): Promise<Peak> {
  await backend.sync();
  return {
    float32: await rate(backend, multiplyAdds, LANES * CHAINS * 4 * 2 * TURNS),
    matrixUnit: await matrixRate(backend).catch((error: Error) => {
      console.error(`peak of the matrix unit: ${error.message}`);
      return null;
    }),
  };
}

const chains = Array.from({ length: CHAINS }, (_, i) => i);

const unrolled = (statements: readonly string[]): string =>
  new Array<string>(UNROLLED).fill(statements.join('\n    ')).join('\n    ');

/** Chains that do not wait for one another; what they begin with is not known to the compiler. */
const multiplyAdds = `@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let m = vec4f(out[0]);
  let c = vec4f(out[1]);
  ${chains.map((i) => `var a${i} = vec4f(f32(id.x) + ${i}.0);`).join('\n  ')}
  for (var turn = 0u; turn < ${TURNS / UNROLLED}u; turn++) {
    ${unrolled(chains.map((i) => `a${i} = a${i} * m + c;`))}
  }
  let sum = ${chains.map((i) => `a${i}`).join(' + ')};
  if (dot(sum, vec4f(1.0)) == 123.25) { out[2] = 1.0; }
}`;

async function matrixRate(backend: DawnBackend): Promise<number | null> {
  const { matrixUnit, subgroupSize, subgroupSizes } = backend.choice;
  if (!matrixUnit) return null;
  const { M, N, K } = matrixUnit;
  const wgsl = matrixProducts(matrixUnit, subgroupSize, subgroupSizes);
  const subgroups = subgroupSizes[1] / subgroupSize;
  return rate(backend, wgsl, subgroups * MATRICES * 2 * M * N * K * TURNS);
}

/**
 * A subgroup's products on the unit, each with a left side of its own, so that none is another. A
 * workgroup with the unit has to be a multiple of the most lanes that a subgroup may have.
 */
export function matrixProducts(
  { M, N, K }: MatrixUnit,
  subgroupSize: number,
  [least, most]: readonly [number, number] = [subgroupSize, subgroupSize],
): string {
  const asks = least !== most;
  const each = (line: (i: number) => string) =>
    Array.from({ length: MATRICES }, (_, i) => line(i)).join('\n  ');
  const halves = (Math.max(M, N) + MATRICES) * K;
  return `enable f16;
enable subgroups;${asks ? '\nenable subgroup_size_control;' : ''}
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
var<workgroup> halves: array<f16, ${halves}>;
var<workgroup> results: array<f32, ${M * N}>;
@compute @workgroup_size(${most})${asks ? ` @subgroup_size(${subgroupSize})` : ''}
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var e = lane; e < ${halves}u; e += ${most}u) { halves[e] = f16(out[e % 2u]); }
  workgroupBarrier();
  let right = subgroupMatrixLoad<subgroup_matrix_right<f16, ${N}, ${K}>, col_major>(&halves, 0u, ${K}u);
  ${each((i) => `let left${i} = subgroupMatrixLoad<subgroup_matrix_left<f16, ${K}, ${M}>, row_major>(&halves, ${i * K}u, ${K}u);`)}
  ${each((i) => `var c${i}: subgroup_matrix_result<f32, ${N}, ${M}>;`)}
  for (var turn = 0u; turn < ${TURNS}u; turn++) {
  ${each((i) => `c${i} = subgroupMatrixMultiplyAccumulate(left${i}, right, c${i});`)}
  }
  ${each(
    (i) => `subgroupMatrixStore<row_major>(&results, 0u, c${i}, ${N}u);
  workgroupBarrier();
  if (results[lane % ${M * N}u] == 123.25) { out[2] = 1.0; }
  workgroupBarrier();`,
  )}
}`;
}

/**
 * @returns GFLOP/s, the best of some dispatches that each keep the whole device busy
 * @throws when the device refuses the shader
 */
export async function rate(
  backend: DawnBackend,
  code: string,
  flopsPerGroup: number,
): Promise<number> {
  const { device } = backend;
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const refused = await device.popErrorScope();
  if (refused) throw new Error(refused.message);
  const buffer = device.createBuffer({
    size: 16,
    usage: GPU_STORAGE | GPU_COPY_DST,
  });
  device.queue.writeBuffer(buffer, 0, new Float32Array([0.9999, 0.001, 0, 0]));
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer } }],
  });
  const msOf = async (groups: number) => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let left = groups; left > 0; left -= GROUPS)
      pass.dispatchWorkgroups(Math.min(left, GROUPS));
    pass.end();
    const began = performance.now();
    device.queue.submit([encoder.finish()]);
    await backend.sync();
    return performance.now() - began;
  };
  let groups = 64;
  await msOf(groups); // compiles
  while ((await msOf(groups)) < LEAST_MS) groups *= 2;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) best = Math.min(best, await msOf(groups));
  buffer.destroy();
  return (groups * flopsPerGroup) / best / 1e6;
}

/** WebGPU's flags: Dawn's globals are not installed here. */
const GPU_STORAGE = 0x80;
const GPU_COPY_DST = 0x08;

import type { DeviceFacts, MatrixUnit, Stage } from '../src/kernels/kernel.js';
import type { MatrixTile } from '../src/kernels/matmul/matrixTile.js';

/** The unit that the stand-ins make, and lanes of a subgroup. */
export const emulatedUnit: MatrixUnit = { M: 8, N: 4, K: 4 };
export const emulatedLanes = 4;

/**
 * A device with that unit, and with so little memory that results of large tiles are stored in
 * several bands. The stand-ins need more: theirs are float32, and sums lie in memory, too.
 */
export const emulatedFacts = (facts: DeviceFacts): DeviceFacts => ({
  ...facts,
  subgroupSize: emulatedLanes,
  matrixUnit: emulatedUnit,
  maxWorkgroupBytes: 11_000,
});

/** A tile with as many matrices of the small unit as the real one has of 16 x 16 x 16. */
export const scaledTile = ({ bm, bn, bk, down, across }: MatrixTile): MatrixTile => {
  const { M, N, K } = emulatedUnit;
  return { bm: (bm * M) / 16, bn: (bn * N) / 16, bk: (bk * K) / 16, down, across };
};

/** What a wrong unit does: each is one statement of the stand-ins. */
export type Fault =
  | 'none'
  | 'columns as rows'
  | 'rows as columns'
  | 'sum is lost'
  | 'low precision';

/**
 * Devices here have no matrix unit, so its WGSL runs with stand-ins: an operand that is loaded is
 * its place in workgroup memory, a sum is a place in `unitSums`, and each lane of a subgroup makes
 * some of its elements. Memory must stay as it is between a load and the product that uses it.
 */
export function emulated(wgsl: string, fault: Fault = 'none'): string {
  const { M, N, K } = emulatedUnit;
  const S = emulatedLanes;
  const size = M * N;
  const lanes = Number(/@workgroup_size\((\d+)\)/.exec(wgsl)![1]);
  const helpers = new Map<string, string>();
  const helper = (name: string, text: string) => {
    helpers.set(name, text);
    return name;
  };
  const eachElement = (body: string) =>
    `for (var e = lane % ${S}u; e < ${size}u; e += ${S}u) { ${body} }`;

  /** Which array a loaded operand lies in, by the operand's name. */
  const arrays = new Map<string, string>();
  const order = { row_major: 'row_major', col_major: 'col_major' };
  if (fault === 'columns as rows') order.col_major = 'row_major';
  if (fault === 'rows as columns') order.row_major = 'col_major';
  let sums = 0;
  const zero = (name: string) =>
    `var ${name} = (lane / ${S}u * SUMSu + ${sums++}u) * ${size}u; ${helper('zero', `fn zero(sum: u32, lane: u32) { ${eachElement('unitSums[sum + e] = 0.0;')} }`)}(${name}, lane);`;

  const text = wgsl
    .replace(/^(enable (f16|chromium_experimental_subgroup_matrix)|diagnostic\(.*\));\n/gm, '')
    .replace(/var (\w+): subgroup_matrix_result<[^>]*>;/g, (_, name: string) => zero(name))
    .replace(
      /(\w+) = subgroupMatrixLoad<subgroup_matrix_result<[^>]*>, row_major>\(&(\w+), (.*), (\w+)\);/g,
      (_, sum: string, array: string, at: string, stride: string) =>
        `${helper(
          `fill_${array}`,
          `fn fill_${array}(first: u32, stride: u32, sum: u32, lane: u32) { ${eachElement(`unitSums[sum + e] = ${array}[first + e / ${N}u * stride + e % ${N}u];`)} }`,
        )}(${at}, ${stride}, ${sum}, lane);`,
    )
    .replace(
      /let (\w+) = subgroupMatrixLoad<subgroup_matrix_\w+<[^>]*>, (row_major|col_major)>\(&(\w+), (.*), (\w+)\);/g,
      (_, name: string, major: keyof typeof order, array: string, at: string, stride: string) => {
        arrays.set(name, array);
        return `let ${name} = ${order[major]}(${at}, ${stride});`;
      },
    )
    .replace(
      /(\w+) = subgroupMatrixMultiplyAccumulate\((\w+), (\w+), \w+\);/g,
      (_, sum: string, left: string, right: string) => {
        const [a, b] = [arrays.get(left)!, arrays.get(right)!];
        const total = fault === 'low precision' ? 'half(total)' : 'total';
        const product = `${a}[l.first + e / ${N}u * l.row + k * l.column] * ${b}[r.first + k * r.row + e % ${N}u * r.column]`;
        return `${helper(
          `multiply_${a}_${b}`,
          `fn multiply_${a}_${b}(l: Loaded, r: Loaded, sum: u32, lane: u32) { ${eachElement(`var total = ${fault === 'sum is lost' ? '0.0' : 'unitSums[sum + e]'};
  for (var k = 0u; k < ${K}u; k++) { total += ${product}; }
  unitSums[sum + e] = ${total};`)} }`,
        )}(${left}, ${right}, ${sum}, lane);`;
      },
    )
    .replace(
      /subgroupMatrixStore<row_major>\(&(\w+), (.*), (\w+), (\w+)\);/g,
      (_, array: string, at: string, sum: string, stride: string) =>
        `${helper(
          `store_${array}`,
          `fn store_${array}(first: u32, sum: u32, stride: u32, lane: u32) { ${eachElement(`${array}[first + e / ${N}u * stride + e % ${N}u] = unitSums[sum + e];`)} }`,
        )}(${at}, ${sum}, ${stride}, lane);`,
    )
    .replaceAll('f16(', 'half(')
    .replaceAll('array<f16,', 'array<f32,')
    .replaceAll('SUMSu', `${sums}u`);
  return text.replace(
    '@compute',
    `struct Loaded { first: u32, row: u32, column: u32 }
var<workgroup> unitSums: array<f32, ${(lanes / S) * sums * size}>;
fn half(v: f32) -> f32 { return unpack2x16float(packFloat16(v)).x; }
fn row_major(first: u32, stride: u32) -> Loaded { return Loaded(first, stride, 1u); }
fn col_major(first: u32, stride: u32) -> Loaded { return Loaded(first, 1u, stride); }
${[...helpers.values()].join('\n')}
@compute`,
  );
}

/** A stage whose shader runs with stand-ins, if it uses the unit. */
export const emulatedStage = (stage: Stage, fault: Fault = 'none'): Stage => ({
  ...stage,
  key: `${stage.key}:emulated`,
  wgsl: () => {
    const wgsl = stage.wgsl();
    return wgsl.includes('subgroupMatrix') ? emulated(wgsl, fault) : wgsl;
  },
});

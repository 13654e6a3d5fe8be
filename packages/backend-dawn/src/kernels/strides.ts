import { type Param, u32 } from './kernel.js';

/** One axis after merging: its size, and the element stride of each operand along it. */
interface MergedAxis {
  size: number;
  steps: number[];
}

/** Merges neighbouring axes that every operand walks evenly: most broadcasts become two axes. */
export function mergeAxes(
  shape: readonly number[],
  steps: readonly (readonly number[])[],
): MergedAxis[] {
  const axes: MergedAxis[] = [];
  for (let d = 0; d < shape.length; d++) {
    const size = shape[d]!;
    if (size === 1) continue;
    const here = steps.map((s) => s[d]!);
    const last = axes.at(-1);
    if (last?.steps.every((s, i) => s === here[i]! * size)) {
      last.size *= size;
      last.steps = here;
    } else axes.push({ size, steps: here });
  }
  return axes;
}

/**
 * WGSL that turns a flat output index `i` into operand offsets `at0`, `at1`, ... over merged axes.
 */
export function stridedOffsets(
  axes: readonly MergedAxis[],
  operands: number,
): {
  params: Record<string, Param>;
  code: string;
} {
  const params: Record<string, Param> = {};
  const names = Array.from({ length: operands }, (_, o) => o);
  let code = `  var rest = i;\n${names.map((o) => `  var at${o} = 0u;`).join('\n')}\n`;
  for (let d = axes.length - 1; d >= 0; d--) {
    const outermost = d === 0;
    const { size, steps } = axes[d]!;
    if (!outermost) params[`size${d}`] = u32(size);
    for (const o of names) params[`step${d}_${o}`] = u32(steps[o]!);
    const index = outermost ? 'rest' : `rest % p.size${d}`;
    code += names.map((o) => `  at${o} += (${index}) * p.step${d}_${o};\n`).join('');
    if (!outermost) code += `  rest /= p.size${d};\n`;
  }
  return { params, code };
}

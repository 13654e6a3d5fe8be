import { Engine, numel } from '@attune/core';
import { bytesPerElement, type Operand, ReferenceBackend } from '@attune/core/backend';
import type { OpCase } from '@attune/core/testing';
import { kernels } from '../src/kernels/index.js';
import type { DeviceFacts, Kernel } from '../src/kernels/kernel.js';

/**
 * Chooses cases that together run every statement of the kernels' shaders, with few and short
 * shaders, and those whose shaders a device has compiled for them already. What is left out is the
 * same code at another size, in another unrolling or combination: a software device compiles for
 * seconds what it runs in milliseconds.
 *
 * Statements are compared without their numbers, and a sum of like terms as one term. Where no
 * kernel takes a case, its decomposition runs: op, ranks, types and options stand for its
 * statements.
 */
export class KernelPaths {
  readonly #written = new Set<string>();
  /** Shaders, by device: what was compiled for one is compiled again for another. */
  readonly #compiled = new Map<string, Set<string>>();

  /** @param kernelOf the kernel of an op. Default: the backend's own */
  choose(
    cases: readonly OpCase[],
    facts: DeviceFacts,
    kernelOf: (op: string) => Kernel | undefined = (op) => kernels.find((k) => k.op === op),
  ): OpCase[] {
    const device = JSON.stringify(facts);
    const compiled = this.#compiled.get(device) ?? new Set<string>();
    this.#compiled.set(device, compiled);
    const left = new Set(
      cases.map((testCase) => {
        const { op, inputs, attrs } = testCase;
        const shaders = stagesOf(testCase, facts, kernelOf(op.name))?.map(({ wgsl }) => wgsl());
        const types = inputs.map(({ dtype, shape }) => [dtype, `${shape.length}d`]);
        const text = shaders?.join('\n') ?? JSON.stringify([op.name, types, attrs]);
        const statements = text.split(shaders ? /[;{}\n]/ : '\n').map(withoutSizes);
        return { testCase, shaders, length: text.length, statements: new Set(statements) };
      }),
    );
    const chosen: OpCase[] = [];
    for (;;) {
      // What has the most new statements for its length: seldom an unrolled shader.
      const worth = [...left].map((planned) => {
        const news = [...planned.statements].filter((each) => !this.#written.has(each)).length;
        return { planned, value: news / planned.length };
      });
      const best = worth.reduce((a, b) => (b.value > a.value ? b : a), worth[0]!);
      // An op without a statement of its own runs its shortest case all the same.
      if (!(best?.value > 0) && chosen.length > 0) break;
      const least = worth.filter(({ planned }) => planned.length > 0);
      const next =
        best.value > 0
          ? best.planned
          : least.reduce((a, b) => (b.planned.length < a.planned.length ? b : a), least[0] ?? best)
              .planned;
      left.delete(next);
      chosen.push(next.testCase);
      for (const statement of next.statements) this.#written.add(statement);
      for (const wgsl of next.shaders ?? []) compiled.add(wgsl);
      if (left.size === 0) break;
    }
    for (const { testCase, shaders } of left)
      if (shaders?.every((wgsl) => compiled.has(wgsl))) chosen.push(testCase);
    return chosen;
  }
}

/** `dot(q0, k0) + dot(q1, k1)` -> `dot(q#, k#)`. */
const withoutSizes = (text: string): string =>
  text
    .trim()
    .replace(/\d+(\.\d+)?(e-?\d+)?/g, '#')
    .replace(/(\S.{2,}?)(?:(?: \+ |, )\1)+/g, '$1');

/** The stages of a case, planned and not compiled; nothing where the kernel does not take it. */
export function stagesOf(testCase: OpCase, facts: DeviceFacts, kernel: Kernel | undefined) {
  const { op, attrs, targets } = testCase;
  let id = 0;
  const operand = ({ shape, dtype }: Pick<Operand, 'shape' | 'dtype'>): Operand => {
    const byteLength = numel(shape) * bytesPerElement[dtype];
    return { buffer: { id: id++, byteLength }, byteOffset: 0, shape, dtype };
  };
  const inputs = inputsOf(testCase);
  const outputs = targets.length > 0 ? targets : op.infer(inputs, attrs);
  const call = {
    op: op.name,
    inputs: inputs.map(operand),
    outputs: outputs.map(operand),
    attrs,
  };
  if (!kernel || kernel.accepts?.(call, facts) === false) return undefined;
  const scratch = (elements: number, dtype: Operand['dtype']) =>
    operand({ shape: [elements], dtype });
  const empty = call.outputs.every(({ shape }) => numel(shape) === 0);
  return empty ? [] : kernel.plan(call, facts, scratch);
}

/** Shapes and dtypes of a case's operands, where some follow from others. */
export function inputsOf({
  derive,
  inputs,
}: Pick<OpCase, 'inputs' | 'derive'>): readonly Pick<Operand, 'shape' | 'dtype'>[] {
  if (!derive) return inputs;
  const engine = new Engine(new ReferenceBackend());
  return engine.rehearse(() =>
    derive(inputs.map(({ shape, dtype }) => engine.empty(shape, dtype))).map(
      ({ shape, dtype }) => ({ shape, dtype }),
    ),
  );
}

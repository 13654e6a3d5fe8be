import { Engine, numel } from '@attune/core';
import { bytesPerElement, type Operand, ReferenceBackend } from '@attune/core/backend';
import type { OpCase } from '@attune/core/testing';
import { kernels } from '../src/kernels/index.js';
import type { DeviceFacts, Kernel } from '../src/kernels/kernel.js';

/**
 * Chooses, of cases from the shortest shader on, those that bring a statement which no shader
 * before them had, and those whose shaders are compiled already. What is left out is the same code
 * at another size, in another unrolling or combination: a software device compiles for seconds what
 * it runs in milliseconds.
 *
 * Statements are compared without their numbers, and a sum of like terms as one term. Where no
 * kernel takes a case, its decomposition runs: op, ranks, types and options stand for its
 * statements.
 */
export class KernelPaths {
  readonly #written = new Set<string>();
  readonly #compiled = new Set<string>();

  /** @param kernelOf the kernel of an op. Default: the backend's own */
  choose(
    cases: readonly OpCase[],
    facts: DeviceFacts,
    kernelOf: (op: string) => Kernel | undefined = (op) => kernels.find((k) => k.op === op),
  ): OpCase[] {
    const planned = cases.map((testCase) => {
      const { op, inputs, attrs } = testCase;
      const shaders = shadersOf(testCase, facts, kernelOf(op.name));
      const types = inputs.map(({ dtype, shape }) => [dtype, `${shape.length}d`]);
      const text = shaders
        ? shaders.map(({ wgsl }) => wgsl()).join('\n')
        : JSON.stringify([op.name, types, attrs]);
      return { testCase, keys: shaders?.map(({ key }) => key), text };
    });
    // The shortest first: a long shader is often an unrolled one, with the same statements.
    const chosen = planned
      .sort((a, b) => a.text.length - b.text.length)
      .filter(({ keys, text }) => {
        if (keys?.every((key) => this.#compiled.has(key))) return true;
        const before = this.#written.size;
        for (const statement of text.split(keys ? /[;{}\n]/ : '\n'))
          this.#written.add(withoutSizes(statement));
        if (this.#written.size === before) return false;
        for (const key of keys ?? []) this.#compiled.add(key);
        return true;
      });
    return chosen.map(({ testCase }) => testCase);
  }
}

/** `dot(q0, k0) + dot(q1, k1)` -> `dot(q#, k#)`. */
const withoutSizes = (text: string): string =>
  text
    .trim()
    .replace(/\d+(\.\d+)?(e-?\d+)?/g, '#')
    .replace(/(\S.{2,}?)(?:(?: \+ |, )\1)+/g, '$1');

/** The shaders of a case, planned and not compiled; nothing where the kernel does not take it. */
function shadersOf(testCase: OpCase, facts: DeviceFacts, kernel: Kernel | undefined) {
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

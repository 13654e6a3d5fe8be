import { type OpCase, opCases } from '@attune/core/testing';
import { expect, test } from 'vitest';
import { defineKernel, type Stage } from '../src/index.js';
import { KernelPaths } from './kernelPaths.js';

const facts = {
  ...{ subgroupSize: 0, software: false, maxBindings: 10, maxWorkgroupBytes: 16_384 },
  ...{ maxInvocations: 256, matrixUnit: null },
};

const squares = [4, 1, 8, 8, 3, 0].map((size, i): OpCase => {
  const add = opCases.find(({ name }) => name === 'add/64-64')!;
  const operand = { ...add.inputs[0]!, shape: [size] };
  return { ...add, name: `${size} (${i})`, inputs: [operand, operand] };
});

test('of cases that differ in unrolling the shortest runs; odd sizes are a path, and nothing is free', () => {
  const kernel = defineKernel({
    op: 'add',
    plan: ({ outputs: [out] }): Stage[] => {
      const [size] = out!.shape as [number];
      const sum = Array.from({ length: size }, (_, i) => `x${i} * y${i}`).join(' + ');
      const wgsl = () => `let out = ${sum};${size % 2 ? 'let odd = x0;' : ''}`;
      return [{ key: `${size}`, wgsl, operands: [], reads: 0, params: [], grid: [1, 1, 1] }];
    },
  });
  const names = new KernelPaths().choose(squares, facts, () => kernel).map(({ name }) => name);
  expect(names).toEqual(['0 (5)', '1 (1)']);
});

test('where no kernel takes a case, one for each combination of ranks, types and options', () => {
  const names = new KernelPaths().choose(squares, facts, () => undefined).map(({ name }) => name);
  expect(names).toEqual(['4 (0)']);
});

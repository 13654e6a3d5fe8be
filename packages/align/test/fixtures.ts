import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine, type Tensor } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { expect } from 'vitest';

export const fixtures = join(import.meta.dirname, '../../../parity/fixtures');

/** A tensor as the parity scripts write it. */
export interface FixtureTensor {
  readonly shape: readonly number[];
  readonly data: readonly (number | string)[];
}
export interface Tolerance {
  readonly abs: number;
  readonly rel: number;
}
type Named<T> = Readonly<Record<string, T>>;

export interface FixtureCase {
  readonly name: string;
  readonly inputs: Named<FixtureTensor>;
  readonly attrs: Named<unknown>;
  readonly outputs: Named<FixtureTensor | number | string>;
  readonly grads: Named<FixtureTensor>;
  readonly tolerance?: Tolerance;
}
export interface Fixture {
  readonly tolerance: Tolerance;
  readonly cases: readonly FixtureCase[];
  readonly batches?: Named<Named<FixtureTensor>>;
}

export const fixture = <T = Fixture>(file: string): T =>
  JSON.parse(readFileSync(join(fixtures, file), 'utf8')) as T;

export const numbers = (value: FixtureTensor | number | string): number[] =>
  typeof value === 'object' ? value.data.map(Number) : [Number(value)];

/** An engine in float64, and the way in and out of it. */
export class Oracle {
  readonly backend = new ReferenceBackend();
  readonly engine = new Engine(this.backend);

  /** The fixture's numbers in full precision. */
  tensor(value: FixtureTensor, requiresGrad = false): Tensor {
    const tensor = this.engine.empty(value.shape);
    this.backend.poke(tensor.operand, numbers(value));
    tensor.requiresGrad = requiresGrad;
    return tensor;
  }

  values(tensor: Tensor | null): number[] {
    return tensor ? [...this.backend.peek(tensor.operand)] : [];
  }
}

/** Fails with the elements that are off. */
export function expectClose(
  got: readonly number[],
  expected: FixtureTensor | number | string,
  { abs, rel }: Tolerance,
): void {
  const wanted = numbers(expected);
  expect(got.length).toBe(wanted.length);
  const off = wanted.flatMap((e, i) => {
    const g = got[i]!;
    const same = Object.is(g, e) || g === e || Math.abs(g - e) <= abs + rel * Math.abs(e);
    return same ? [] : [`[${i}]: got ${g}, expected ${e}`];
  });
  expect(off).toEqual([]);
}

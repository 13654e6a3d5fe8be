type Numbers = Int32Array | Float32Array | Float64Array;

/** `numbers` itself, or a longer copy that has room for `length`. */
export function roomFor<T extends Numbers>(numbers: T, length: number): T {
  if (length <= numbers.length) return numbers;
  const longer = new (numbers.constructor as new (length: number) => T)(
    Math.max(length, 2 * numbers.length),
  );
  longer.set(numbers);
  return longer;
}

/** A list of 32-bit integers in 4 bytes each. */
export class IntList {
  values = new Int32Array(256);
  length = 0;

  push(value: number): void {
    if (this.length === this.values.length) this.values = roomFor(this.values, this.length + 1);
    this.values[this.length++] = value;
  }
}

/**
 * The rank of each magnitude in ascending order; of equal ones the first has the lower rank. A
 * radix sort by bytes: linear in the length.
 */
export class MagnitudeRanks {
  readonly #order: [Int32Array, Int32Array];
  readonly #counts = new Int32Array(256);

  constructor(readonly length: number) {
    this.#order = [new Int32Array(length), new Int32Array(length)];
  }

  /**
   * @param magnitudes bits of |x| as float32
   * @returns `order[r]` is where the magnitude of rank r stands; overwritten by the next call
   */
  order(magnitudes: Int32Array): Int32Array {
    const counts = this.#counts;
    let [from, to] = this.#order;
    for (let i = 0; i < from.length; i++) from[i] = i;
    for (let shift = 0; shift < 32; shift += 8) {
      counts.fill(0);
      for (let i = 0; i < magnitudes.length; i++) {
        const digit = (magnitudes[i]! >>> shift) & 255;
        counts[digit] = counts[digit]! + 1;
      }
      if (counts[(magnitudes[0]! >>> shift) & 255] === magnitudes.length) continue;
      let start = 0;
      for (let digit = 0; digit < 256; digit++) {
        const count = counts[digit]!;
        counts[digit] = start;
        start += count;
      }
      for (let i = 0; i < from.length; i++) {
        const index = from[i]!;
        const digit = (magnitudes[index]! >>> shift) & 255;
        const place = counts[digit]!;
        counts[digit] = place + 1;
        to[place] = index;
      }
      [from, to] = [to, from];
    }
    return from;
  }
}

/**
 * The numbers that torch.Tensor.uniform_(-bound, bound) draws on the CPU after manual_seed(seed):
 * MT19937 (Matsumoto and Nishimura 1998), one 32-bit word for each float32, of which the low 24
 * bits count.
 */
export class TorchUniform {
  readonly #state = new Uint32Array(624);
  #at = 624;

  constructor(seed: number) {
    const s = this.#state;
    s[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) s[i] = Math.imul(1812433253, s[i - 1]! ^ (s[i - 1]! >>> 30)) + i;
  }

  /** float32 values, in the order in which torch fills a tensor. */
  draw(size: number, bound: number): Float32Array {
    const high = Math.fround(bound);
    const width = Math.fround(high - -high);
    const unit = () => Math.fround((this.#word() & 0xffffff) * 2 ** -24);
    return Float32Array.from({ length: size }, () => Math.fround(unit() * width - high));
  }

  #word(): number {
    if (this.#at === 624) this.#twist();
    let y = this.#state[this.#at++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist(): void {
    const s = this.#state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i]! & 0x80000000) | (s[(i + 1) % 624]! & 0x7fffffff);
      s[i] = s[(i + 397) % 624]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#at = 0;
  }
}

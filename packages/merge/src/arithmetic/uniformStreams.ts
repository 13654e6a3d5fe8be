import { philox } from '@attune/core/util';
import type { FillUniform } from '../contract/mergeMethod.js';
import { inTwo } from './inTwo.js';

/**
 * The random numbers of a tensor: a function of (seed, name, stream, position), so they are the
 * same in any worker, however the tensor is cut.
 *
 * xoshiro128+ (Blackman and Vigna, 2018), whose high bits are for such numbers, started from
 * Philox over the name.
 */
export const uniformStreams =
  (seed: number, name: string): ((stream: number) => FillUniform) =>
  (stream) =>
    xoshiro128(startingState(seed, name, stream));

type State = [number, number, number, number];

/** Four words that depend on every letter. */
function startingState(seed: number, name: string, stream: number): State {
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const;
  let state: State = [name.length, stream, 0, 0];
  for (let i = 0; i < name.length; i++) {
    state[2] = (state[2] ^ name.charCodeAt(i)) >>> 0;
    state = philox(state, key);
  }
  state = philox(state, key);
  // xoshiro never leaves a state that is all 0.
  return [state[0] | 1, state[1], state[2], state[3]];
}

function xoshiro128(state: State): FillUniform {
  const words = Int32Array.from(state, (word) => word | 0);
  return (into) => inTwo(into.length, (from, to) => fillUniform(into, from, to, words));
}

/** A loop in a function of the module is compiled once; in a closure, for each. */
function fillUniform(into: Float32Array, from: number, to: number, words: Int32Array): void {
  let a = words[0]!;
  let b = words[1]!;
  let c = words[2]!;
  let d = words[3]!;
  for (let i = from; i < to; i++) {
    into[i] = ((a + d) >>> 8) * 2 ** -24;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
  }
  words[0] = a;
  words[1] = b;
  words[2] = c;
  words[3] = d;
}

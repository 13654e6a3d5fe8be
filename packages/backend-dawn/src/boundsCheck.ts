import { AttuneError } from '@attune/core';
import type { Binding } from './bindGroupCache.js';
import type { Stage } from './kernels/kernel.js';

/** What a shader notes: how many lanes went outside, then array and index of the first. */
const WORDS = 3;
/** Shaders that have a place of their own; those that come later share the last. */
const PLACES = 4096;
const STORAGE = 0x80;
const COPY_SRC = 0x04;

/** Arrays that a module binds, by their names. */
const BOUND = /@binding\(\d+\)\s*var<storage(?:,\s*\w+)?>\s*(\w+)\s*:\s*array</g;
/** Arrays in workgroup memory, by their names, and their length. */
const SHARED = /var<workgroup>\s*(\w+)\s*:\s*array<[^;]*,\s*(\d+)u?\s*>\s*;/g;

/** The arrays of a module: how long each is, in WGSL. */
const arraysOf = (wgsl: string): [name: string, length: string][] => [
  ...[...wgsl.matchAll(BOUND)].map(([, name]): [string, string] => [
    name!,
    `arrayLength(&${name})`,
  ]),
  ...[...wgsl.matchAll(SHARED)].map(([, name, length]): [string, string] => [name!, `${length}u`]),
];

/** Where a module begins to run: its attributes, and its parameters. */
const MAIN = /(@compute(?:\s+@\w+\([^)]*\))+)\s*fn main\(([^{]*)\)\s*\{/;

/** The place of the bracket that closes the one at `open`. */
function closing(wgsl: string, open: number): number {
  let depth = 0;
  for (let at = open; at < wgsl.length; at++) {
    if (wgsl[at] === '[') depth++;
    else if (wgsl[at] === ']' && --depth === 0) return at;
  }
  return wgsl.length;
}

/**
 * A module that notes each index that lies outside of the array it is used with, bound or in
 * workgroup memory, and goes on as before. It sees `name[index]`; what goes through a pointer to
 * the array it does not see.
 *
 * @param binding where the notes are bound @param place of this shader's among them
 */
export function boundsChecked(wgsl: string, binding: number, place: number): string {
  const arrays = arraysOf(wgsl);
  if (arrays.length === 0) return wgsl;
  const access = new RegExp(`\\b(${arrays.map(([name]) => name).join('|')})\\s*\\[`, 'g');
  const rewritten = (text: string): string => {
    let [out, done] = ['', 0];
    for (const match of text.matchAll(access)) {
      if (match.index < done) continue; // within an index that was rewritten with its array
      const open = match.index + match[0].length - 1;
      const close = closing(text, open);
      const index = rewritten(text.slice(open + 1, close));
      out += `${text.slice(done, open + 1)}checked_${match[1]}(u32(${index}))`;
      done = close;
    }
    return out + text.slice(done);
  };
  // Private to a lane until its end: a note at each index takes minutes to compile.
  const helpers = arrays.map(
    ([name, length], at) => `fn checked_${name}(i: u32) -> u32 {
  let outside = i >= ${length};
  checked_array = select(checked_array, ${at + 1}u, outside);
  checked_index = select(checked_index, i, outside);
  return i;
}`,
  );
  const main = MAIN.exec(wgsl);
  if (!main) return wgsl;
  const [head, attributes, parameters] = main as unknown as [string, string, string];
  const plain = parameters.replace(/@\w+(\([^)]*\))?\s*/g, '');
  const given = [...plain.matchAll(/(\w+)\s*:/g)].map(([, name]) => name);
  return `${rewritten(wgsl.replace(head, () => `fn checked_main(${plain}) {`))}
@group(0) @binding(${binding}) var<storage, read_write> checked_notes: array<atomic<u32>>;
var<private> checked_array: u32;
var<private> checked_index: u32;
${helpers.join('\n')}
${attributes}
fn main(${parameters}) {
  checked_main(${given.join(', ')});
  if (checked_array > 0u && atomicAdd(&checked_notes[${place * WORDS}u], 1u) == 0u) {
    atomicStore(&checked_notes[${place * WORDS + 1}u], checked_array - 1u);
    atomicStore(&checked_notes[${place * WORDS + 2}u], checked_index);
  }
}
`;
}

/**
 * Finds kernels that read or write outside of their arrays, which robust access hides: it moves the
 * index inside. A binding ends at a multiple of 16 bytes, so what is less far off is not seen.
 */
export class BoundsCheck {
  /** What the shaders note. */
  readonly notes: GPUBuffer;
  readonly bytes = PLACES * WORDS * 4;
  readonly #shaders: { readonly key: string; readonly wgsl: string }[] = [];

  constructor(device: GPUDevice) {
    this.notes = device.createBuffer({ size: this.bytes, usage: STORAGE | COPY_SRC });
  }

  /** The shader of a stage with its checks; the notes are bound behind its operands. */
  wgslOf(stage: Stage, wgsl: string): string {
    const place = Math.min(this.#shaders.push({ key: stage.key, wgsl }), PLACES) - 1;
    return boundsChecked(wgsl, stage.operands.length, place);
  }

  get binding(): Binding {
    return { id: -1, gpu: this.notes, offset: 0, size: this.bytes };
  }

  /** What a shader noted: KERNEL_OUT_OF_BOUNDS, with its name. */
  finding(notes: Uint32Array): AttuneError | null {
    const place = this.#shaders.findIndex((_, at) => notes[at * WORDS]! > 0);
    if (place < 0) return null;
    const { key, wgsl } = this.#shaders[place]!;
    const [lanes, array, index] = notes.subarray(place * WORDS);
    const [name] = arraysOf(wgsl)[array!]!;
    return new AttuneError(
      'KERNEL_OUT_OF_BOUNDS',
      `the kernel "${key}" uses ${name}[${index}], which is beyond what it has; ${lanes} lanes went outside.`,
      {
        remedy:
          'Let lanes that have no work return first: `if (gid >= p.n) { return; }`. Unchecked, another element is read or overwritten.',
        details: { key, name, index, lanes },
      },
    );
  }
}

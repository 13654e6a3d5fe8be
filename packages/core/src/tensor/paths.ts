import type { Attrs, OpCall } from '../backend/opCall.js';
import { copyOfAttrs, sameAttrs } from '../backend/sameCall.js';
import type { Engine } from './engine.js';
import type { Known } from './inferCache.js';
import type { OpDef } from './op.js';
import { sameShape } from './shape.js';
import type { Tensor } from './tensor.js';

/** An operand of an op, in numbers that are the same in each step like this one. */
interface Operand {
  readonly buffer: number;
  readonly byteOffset: number;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** Which value of the path it is; see `nameOf`. */
  readonly name: number;
}

/** An op that ran, and what came after it: a place in the tree of all paths. */
export interface Place<T> {
  readonly def: OpDef | null;
  readonly attrs: Attrs;
  /** Draws since the first of the path. */
  readonly draw: number;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
  /** What its shape rule said, and what the backend is told; null: to be asked and made anew. */
  readonly ran: { readonly known: Known; readonly call: OpCall } | null;
  readonly next: Place<T>[];
  /** What the owner of the tree keeps here. */
  kept: T | null;
}

/** The one attribute in which a step may differ: a place in the random stream. */
const DRAW: ReadonlySet<string> = new Set(['draw']);
/** The name of what has no gradient. */
const NOBODY = 0.5;

/**
 * The ways that programs took, as a tree: the same ops over the same memory with the same
 * attributes are the same way. Only the draws of random numbers may be later ones, all by as many.
 */
export class Paths<T> {
  #root = emptyPlace<T>();
  /** Null: at the begin of a path. */
  #place: Place<T> | null = null;
  #isPaused = false;
  #firstId = 0;
  #firstDraw: number | null = null;
  #size = 0;

  /**
   * @param capacity above this many places all are forgotten: shapes that never come back must not
   *   pile up
   */
  constructor(
    private readonly engine: Engine,
    private readonly capacity = 20_000,
  ) {}

  /** The end of the path so far; null where it has none. */
  get place(): Place<T> | null {
    return this.#place;
  }

  /** Ids of tensors count from here. */
  get firstId(): number {
    return this.#firstId;
  }

  get firstDraw(): number {
    return this.#firstDraw ?? 0;
  }

  /** From now on another path. */
  begin(): void {
    this.#place = null;
    this.#isPaused = false;
    this.#firstDraw = null;
  }

  /** Until `begin` nothing is followed. */
  pause(): void {
    this.#place = null;
    this.#isPaused = true;
  }

  /** Where an op goes that has not run, as far as its inputs tell; null: nowhere that is known. */
  next(def: OpDef, inputs: readonly Tensor[], attrs: Attrs): Place<T> | null {
    if (!this.#isBegun()) return null;
    return this.#find(def, inputs, attrs, null);
  }

  /** An op has run that goes to `place`: whether it is the same one. */
  goTo(place: Place<T>, outputs: readonly Tensor[]): boolean {
    if (!this.#areAt(place.outputs, outputs)) return false;
    this.#place = place;
    return true;
  }

  /** An op has run. */
  follow(
    def: OpDef,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    attrs: Attrs,
    ran: Place<T>['ran'] = null,
  ): void {
    if (!this.#isBegun()) return;
    const found = this.#find(def, inputs, attrs, outputs);
    if (found) this.#place = found;
    else this.#grow(def, inputs, outputs, attrs, ran);
  }

  #isBegun(): boolean {
    if (this.#isPaused) return false;
    if (this.#place === null) {
      this.#place = this.#root;
      this.#firstId = this.engine.lastId;
    }
    return true;
  }

  #find(
    def: OpDef,
    inputs: readonly Tensor[],
    attrs: Attrs,
    outputs: readonly Tensor[] | null,
  ): Place<T> | null {
    const draw = this.#drawOf(attrs);
    const { next } = this.#place!;
    for (let i = 0; i < next.length; i++) {
      const place = next[i]!;
      if (
        place.def === def &&
        place.draw === draw &&
        this.#areAt(place.inputs, inputs) &&
        (!outputs || this.#areAt(place.outputs, outputs)) &&
        sameAttrs(place.attrs, attrs, DRAW)
      )
        return place;
    }
    return null;
  }

  #grow(
    def: OpDef,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    attrs: Attrs,
    ran: Place<T>['ran'],
  ): void {
    if (this.#size >= this.capacity) {
      this.#root = emptyPlace();
      this.#size = 0;
      this.pause(); // a path without its begin is none
      return;
    }
    this.#size++;
    const place: Place<T> = {
      def,
      attrs: copyOfAttrs(attrs),
      draw: this.#drawOf(attrs),
      inputs: inputs.map((tensor) => this.#operandOf(tensor)),
      outputs: outputs.map((tensor) => this.#operandOf(tensor)),
      // A draw is another one next time.
      ran: ran && !('draw' in attrs) ? { ...ran, call: { ...ran.call, memo: {} } } : null,
      next: [],
      kept: null,
    };
    this.#place!.next.push(place);
    this.#place = place;
  }

  /** Draws since the first of the path; 0 where none is made. */
  #drawOf({ draw }: Attrs): number {
    if (typeof draw !== 'number') return 0;
    this.#firstDraw ??= draw;
    return draw - this.#firstDraw;
  }

  #operandOf(tensor: Tensor): Operand {
    const { storage, byteOffset, shape, dtype } = tensor;
    return { buffer: storage.buffer.id, byteOffset, shape, dtype, name: this.#nameOf(tensor) };
  }

  #areAt(operands: readonly Operand[], tensors: readonly Tensor[]): boolean {
    if (operands.length !== tensors.length) return false;
    for (let i = 0; i < tensors.length; i++) {
      const operand = operands[i]!;
      const tensor = tensors[i]!;
      if (
        tensor.engine !== this.engine ||
        operand.buffer !== tensor.storage.buffer.id ||
        operand.byteOffset !== tensor.byteOffset ||
        operand.dtype !== tensor.dtype ||
        operand.name !== this.#nameOf(tensor) ||
        (operand.shape !== tensor.shape && !sameShape(operand.shape, tensor.shape))
      )
        return false;
    }
    return true;
  }

  /**
   * A leaf by its id; a value that was computed by how many tensors after the first it was made.
   */
  #nameOf({ requiresGrad, isLeaf, id }: Tensor): number {
    if (!requiresGrad) return NOBODY;
    return isLeaf ? 2 * id + 1 : 2 * (id - this.#firstId); // odd and even
  }
}

const emptyPlace = <T>(): Place<T> => ({
  def: null,
  attrs: {},
  draw: 0,
  inputs: [],
  outputs: [],
  ran: null,
  next: [],
  kept: null,
});

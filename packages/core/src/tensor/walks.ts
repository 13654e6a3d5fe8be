import type { Recording } from '../backend/backend.js';
import type { Attrs } from '../backend/opCall.js';
import type { Engine } from './engine.js';
import type { OpDef } from './op.js';
import { Paths, type Place } from './paths.js';
import type { Tensor } from './tensor.js';

/** A leaf whose gradient a walk wrote, as it was before. */
interface Touched {
  readonly leaf: WeakRef<Tensor>;
  readonly buffer: number;
  readonly byteOffset: number;
  readonly wasStale: boolean;
}

/** What a walk begins with, beside the path that leads to it. */
interface Begin {
  /** Which tensor of the path: its id, counted from the first. */
  readonly loss: number;
  readonly seed: number;
  /** Ops on the tape. */
  readonly nodes: number;
  /** How often the memory that the tape keeps is kept, by anyone. */
  readonly references: number;
  readonly computeDType: string;
}

interface Walk {
  readonly begin: Begin;
  readonly recording: Recording;
  readonly touched: readonly Touched[];
  /** The first draw of the path. */
  readonly firstDraw: number;
}

/** Recorded walks from the end of one path: they differ in what they began with. */
type Seen = Walk[];

/**
 * At the end of one path: gradients that are overwritten and that are added to, each where memory
 * lay in two ways. The oldest goes.
 */
const WALKS = 4;

/**
 * Backward passes that were walked before.
 *
 * A backward pass depends on what the tape recorded alone: rules depend on their arguments
 * ({@link OpDef}). So the ops are followed along a tree of the ways that they took in earlier
 * steps, and at the end of a way that comes for the third time the pass is not walked, rule by
 * rule, but dispatched again at once as the backend recorded it the second time. A step that
 * differs in a shape, a number, a place in memory goes another way, and is walked.
 */
export class Walks {
  readonly paths: Paths<Seen>;
  #everything = 0;
  /** While a walk is recorded. */
  #touched: Map<Tensor, Touched> | null = null;

  constructor(private readonly engine: Engine) {
    this.paths = new Paths(engine);
    if (!engine.backend.record) this.paths.pause();
  }

  /**
   * Where the path goes with an op that has not run; null: it is not known, or not followed.
   *
   * @param hasHistory whether an input takes a gradient, as far as that is recorded
   */
  next<A extends Attrs>(
    hasHistory: boolean,
    def: OpDef<A>,
    inputs: readonly Tensor[],
    attrs: A,
  ): Place<Seen> | null {
    if (!hasHistory && this.#everything === 0) return null;
    return this.paths.next(def as unknown as OpDef, inputs, attrs);
  }

  /**
   * An op has run.
   *
   * @param isRecorded whether the tape has it: else it is followed only where everything is
   * @param ran what need not be asked again where it comes again
   */
  follow<A extends Attrs>(
    isRecorded: boolean,
    def: OpDef<A>,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    attrs: Attrs,
    ran: Place<Seen>['ran'] = null,
  ): void {
    if (isRecorded || this.#everything > 0)
      this.paths.follow(def as unknown as OpDef, inputs, outputs, attrs, ran);
  }

  /**
   * Every op in `fn` is followed, also those that the tape does not record: they will run again.
   */
  everything<T>(fn: () => T): T {
    this.#everything++;
    try {
      return fn();
    } finally {
      this.#everything--;
    }
  }

  /**
   * The backward pass of what was recorded since the last one.
   *
   * @param seed the gradient of the loss
   * @param walk does it, rule by rule
   */
  walk(loss: Tensor, seed: Tensor, walk: () => void): void {
    const { engine } = this;
    const { place, firstId, firstDraw } = this.paths;
    this.paths.pause(); // what rules record is the walk itself
    try {
      const seen = place?.kept;
      if (!seen) {
        if (place) place.kept = []; // what is seen once may never come back
        walk();
        return;
      }
      const begin: Begin = {
        loss: loss.id - firstId,
        seed: seed.storage.buffer.id,
        nodes: engine.tape.length,
        references: engine.tape.references,
        computeDType: engine.computeDType,
      };
      if (seen.some((known) => sameBegin(known.begin, begin) && repeat(known, firstDraw))) return;
      const recorded = this.#record({ begin, firstDraw, seed }, walk);
      if (recorded && seen.push(recorded) > WALKS) seen.shift();
    } finally {
      if (engine.backend.record) this.paths.begin();
    }
  }

  /** The gradient of a leaf will be written. */
  touch(leaf: Tensor): void {
    if (!this.#touched || this.#touched.has(leaf)) return;
    const { grad, gradIsStale } = leaf;
    this.#touched.set(leaf, {
      leaf: new WeakRef(leaf),
      buffer: grad?.storage.buffer.id ?? -1,
      byteOffset: grad?.byteOffset ?? 0,
      wasStale: gradIsStale,
    });
  }

  #record(
    { begin, firstDraw, seed }: { begin: Begin; firstDraw: number; seed: Tensor },
    walk: () => void,
  ): Walk | null {
    const { engine } = this;
    const leaves = new Map<Tensor, Touched>();
    const known = engine.tape.buffers();
    known.add(seed.storage.buffer);
    const { dropoutDraws } = engine;
    this.#touched = leaves;
    let recording: Recording | null;
    try {
      recording = engine.backend.record!(walk, known);
    } finally {
      this.#touched = null;
    }
    const touched = [...leaves.values()];
    // A gradient that was made, and a draw of its own, are another thing in the next step.
    const isWhole = touched.every(({ buffer }) => buffer >= 0);
    if (!recording || !isWhole || engine.dropoutDraws !== dropoutDraws) return null;
    return { begin, recording, touched, firstDraw };
  }
}

/** @returns whether it was done */
function repeat({ recording, touched, firstDraw }: Walk, draw: number): boolean {
  const leaves: Tensor[] = [];
  for (const { leaf, buffer, byteOffset, wasStale } of touched) {
    const tensor = leaf.deref();
    const grad = tensor?.grad;
    if (!tensor || !grad || grad.isDisposed || tensor.gradIsStale !== wasStale) return false;
    if (grad.storage.buffer.id !== buffer || grad.byteOffset !== byteOffset) return false;
    leaves.push(tensor);
  }
  if (!recording.repeat(draw - firstDraw)) return false;
  for (const leaf of leaves) leaf.gradIsStale = false;
  return true;
}

const sameBegin = (a: Begin, b: Begin): boolean =>
  a.loss === b.loss &&
  a.seed === b.seed &&
  a.nodes === b.nodes &&
  a.references === b.references &&
  a.computeDType === b.computeDType;

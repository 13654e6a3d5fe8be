import type { Tensor } from '@attune/core';
import { Module, type Parameter, type QuantizedLayer } from '@attune/core/nn';
import type { PlannedParameter } from './plannedSlot.js';

/**
 * Which adapters of a model compute now. One object for all its slots: to switch is to change this.
 */
export class AdapterSwitch {
  /** Chosen with setAdapter. */
  active: readonly string[] = [];
  /** Folded into the base weights, which then compute alone. */
  merged: readonly string[] = [];
  /** Calls that are open, in the order in which they began: the last one decides. */
  readonly open: OpenCall[] = [];

  /** What computes on all rows alike. */
  get computing(): readonly string[] {
    if (this.merged.length > 0) return [];
    const call = this.open.at(-1);
    if (!call) return this.active;
    return call.isPerRow ? [] : call.names;
  }

  /** What computes on each row by itself; null: all rows are alike. */
  get computingRows(): readonly string[] | null {
    const call = this.open.at(-1);
    return call?.isPerRow ? call.names : null;
  }
}

/** A call of withAdapters or withAdapterPerRow that has not ended. */
export interface OpenCall {
  /** Adapters of all rows; or the adapter of each row, "__base__" for none. */
  readonly names: readonly string[];
  readonly isPerRow: boolean;
}

/**
 * A module that makes one tensor of one tensor, and of what is no tensor (a context): what adapters
 * wrap.
 */
export interface UnaryModule extends Module {
  forward(x: Tensor, ...rest: never[]): Tensor;
}

/**
 * What folding changes: a parameter of the base, or a layer that holds its weight [out, in]
 * quantised.
 */
export type FoldTarget = Parameter | QuantizedLayer;

/** The new value that it gets when adapters are folded into it. */
export type Folded = readonly [target: FoldTarget, value: Tensor];

/** One tensor that an adapter has put into a model. */
export interface AttachedParameter extends PlannedParameter {
  readonly adapter: string;
  /** Where it is. */
  readonly slot: AdapterPart;
  readonly parameter: Parameter;
}

/**
 * A module of a model's tree that belongs to adapters; every adapter's tensors in it are its own.
 */
export abstract class AdapterPart extends Module {
  /** Path of what it is about in the base model. */
  abstract readonly path: string;
  readonly #held = new Map<string, AttachedParameter[]>();

  /** What an adapter has here. */
  heldBy(adapter: string): readonly AttachedParameter[] {
    return this.#held.get(adapter) ?? [];
  }

  /** What a tensor is called among this module's own. */
  protected abstract treeName(adapter: string, planned: PlannedParameter): string;

  /** Takes a tensor of an adapter: as a parameter where it is trained, else as a buffer. */
  protected hold(adapter: string, planned: PlannedParameter, value: Tensor): void {
    const name = this.treeName(adapter, planned);
    const parameter = planned.isTrained
      ? this.addParameter(name, value)
      : this.addBuffer(name, value);
    // Not all of what was planned: first values would be kept for as long as the adapter.
    const { path, key, fileName, shape, isTrained, isShared } = planned;
    const facts = { path, name: planned.name, key, fileName, shape, isTrained, isShared };
    const held = this.#held.get(adapter) ?? [];
    held.push({ ...facts, adapter, slot: this, parameter });
    this.#held.set(adapter, held);
  }

  /** Frees what the adapter has here. */
  removeAdapter(adapter: string): void {
    for (const attached of this.heldBy(adapter)) {
      const name = this.treeName(adapter, attached);
      if (attached.isTrained) this.removeParameter(name);
      else this.removeBuffer(name);
    }
    this.#held.delete(adapter);
  }

  /**
   * What folding these adapters makes of the original's parameters. Records ops.
   *
   * @throws PEFT_NOT_MERGEABLE
   */
  abstract folded(adapters: readonly string[]): readonly Folded[];
}

/**
 * Tensors by the names that their method uses. Read each time: an optimizer may have moved them.
 */
export const tensorsOf = (held: readonly AttachedParameter[]): Record<string, Tensor> =>
  Object.fromEntries(held.map(({ name, parameter }) => [name, parameter.tensor]));

/**
 * A module in the place of one of the base model's, with what adapters add to it. The original
 * stays inside, unchanged, so that switching adapters off gives the base.
 */
export abstract class AdapterSlot extends AdapterPart {
  /** What it wraps: a module of the base, or another slot. */
  abstract readonly inner: UnaryModule;
}

/** The base model's own module below any slots. */
export function original(module: Module): Module {
  let found = module;
  while (found instanceof AdapterSlot) found = found.inner;
  return found;
}

/**
 * The modules of the base model by their own paths, slots in the place of what they wrap. The root
 * first, as "".
 */
export function* baseModules(module: Module, path = ''): Generator<[string, Module]> {
  yield [path, module];
  for (const [name, child] of original(module).children)
    if (!(child instanceof AdapterPart) || child instanceof AdapterSlot)
      yield* baseModules(child, path ? `${path}.${name}` : name);
}

/**
 * Where the outermost slot of a module of the base, or the module, is in the tree: slots around its
 * parents have names too.
 */
export function treePath(root: Module, path: string): string {
  const parts: string[] = [];
  let module = root;
  for (const name of path.split('.')) {
    for (; module instanceof AdapterSlot; module = module.inner) parts.push(innerName(module));
    parts.push(name);
    module = module.child(name);
  }
  return parts.join('.');
}

/** What a slot calls the module that it wraps: its only child. */
export const innerName = (slot: AdapterSlot): string => [...slot.children.keys()][0]!;

/**
 * What adapters have below: slots, inner ones before those around them, which is the order in which
 * to fold; virtual tokens.
 */
export function partsOf(root: Module): AdapterPart[] {
  return [...root.namedModules()]
    .map(([, module]) => module)
    .filter((module) => module instanceof AdapterPart)
    .reverse();
}

/** A size of a projection, for slots that stand in the place of one; undefined of other modules. */
export function feature(module: Module, name: 'inFeatures' | 'outFeatures'): number | undefined {
  const value = (module as unknown as Record<string, unknown>)[name];
  return typeof value === 'number' ? value : undefined;
}

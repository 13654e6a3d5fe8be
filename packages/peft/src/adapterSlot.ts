import { Module, type Parameter, type Tensor } from '@attune/core';

/** Which adapters of a model compute now. One object for all its slots: to switch is to change this. */
export class AdapterSwitch {
  /** Chosen with setAdapter. */
  active: readonly string[] = [];
  /** Folded into the base weights, which then compute alone. */
  merged: readonly string[] = [];
  /** Open calls of withAdaptersDisabled. */
  disabled = 0;

  get computing(): readonly string[] {
    return this.disabled > 0 || this.merged.length > 0 ? [] : this.active;
  }
}

/** Something with a forward of one tensor: what adapters wrap. */
export interface UnaryModule extends Module {
  forward(x: Tensor): Tensor;
}

/** The new value that a parameter of the base gets when adapters are folded into it. */
export type Folded = readonly [target: Parameter, value: Tensor];

/**
 * A module in the place of one of the base model's, with what adapters add to it. The original stays
 * inside, unchanged; every adapter's tensors are its own, so that switching one off gives the base.
 */
export abstract class AdapterSlot extends Module {
  /** Path of the original in the base model. */
  abstract readonly path: string;
  /** What it wraps: a module of the base, or another slot. */
  abstract readonly inner: UnaryModule;
  /** The trainable tensors of one adapter, by their names in the base model and in files: `<path>.lora_A.weight`. */
  abstract parametersOf(adapter: string): ReadonlyMap<string, Parameter>;
  /** Frees what the adapter has here. */
  abstract removeAdapter(adapter: string): void;
  /** What folding these adapters makes of the original's parameters. Records ops. @throws PEFT_NOT_MERGEABLE */
  abstract folded(adapters: readonly string[]): readonly Folded[];
}

/** The base model's own module below any slots. */
export function original(module: Module): Module {
  let found = module;
  while (found instanceof AdapterSlot) found = found.inner;
  return found;
}

/** The modules of the base model by their own paths, slots in the place of what they wrap. The root first, as "". */
export function* baseModules(module: Module, path = ''): Generator<[string, Module]> {
  yield [path, module];
  if (module instanceof AdapterSlot) return;
  for (const [name, child] of module.children)
    yield* baseModules(child, path ? `${path}.${name}` : name);
}

/** Every slot below, inner ones before those around them: the order in which to fold. */
export function slotsOf(root: Module): AdapterSlot[] {
  return [...root.namedModules()]
    .map(([, module]) => module)
    .filter((module) => module instanceof AdapterSlot)
    .reverse();
}

/** A size of a projection, for slots that stand in the place of one; undefined of other modules. */
export function feature(module: Module, name: 'inFeatures' | 'outFeatures'): number | undefined {
  const value = (module as unknown as Record<string, unknown>)[name];
  return typeof value === 'number' ? value : undefined;
}

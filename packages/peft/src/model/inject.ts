import { type Engine, ops, type Tensor } from '@attune/core';
import type { HostTensorData } from '@attune/core/io';
import type { LinearLike, Module, Parameter } from '@attune/core/nn';
import type { AdapterPlan } from '../plan/planAdapter.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import {
  type AdapterPart,
  AdapterSlot,
  type AdapterSwitch,
  type AttachedParameter,
  baseModules,
  innerName,
  original,
  treePath,
  type UnaryModule,
} from '../slots/adapterSlot.js';
import { initialised } from '../slots/initialised.js';
import type { Given, PlannedParameter, PlannedSlot } from '../slots/plannedSlot.js';
import { isEncoderIn, PromptSlot, withoutEncoder } from '../slots/promptSlot.js';
import { SavedModule } from '../slots/savedModule.js';
import { TrainedBias } from '../slots/trainedBias.js';

/**
 * Puts an adapter into the model: wraps the planned modules in place, where they are not wrapped
 * yet.
 *
 * @param values its tensors by their names in files; without, they start as the method says
 * @returns all that it put there, in the order of the plan
 */
export function inject(
  engine: Engine,
  root: Module,
  { slots }: AdapterPlan,
  adapter: string,
  state: AdapterSwitch,
  values?: ReadonlyMap<string, HostTensorData>,
): readonly AttachedParameter[] {
  const parts: AdapterPart[] = [];
  engine.noGrad(() =>
    engine.scope('inject adapter', () => {
      const uploaded = values && upload(engine, values);
      const inFile = ({ fileName }: PlannedParameter) =>
        fileName === null ? undefined : uploaded?.get(fileName);
      const shared = new Map<string, Tensor>();
      for (const slot of slots)
        if (slot.kind === 'layer')
          for (const planned of slot.parameters)
            if (planned.isShared && !shared.has(planned.name))
              shared.set(planned.name, inFile(planned) ?? initialised(engine, planned));
      const given: Given = (planned) =>
        planned.isShared ? engine.alias(shared.get(planned.name)!) : inFile(planned);
      // A file of virtual tokens may hold what the encoder gave, without the encoder.
      const isWhole = !values || isEncoderIn(values.keys());
      for (const slot of slots) {
        const own = slot.kind === 'prompt' && !isWhole ? withoutEncoder(slot) : slot;
        parts.push(addTo(engine, root, own, { adapter, state, given }));
      }
    }),
  );
  return parts.flatMap((part) => part.heldBy(adapter));
}

interface Addition {
  readonly adapter: string;
  readonly state: AdapterSwitch;
  readonly given: Given;
}

/** Adds an adapter to a slot, which is made where there is none. */
function addTo(
  engine: Engine,
  root: Module,
  planned: PlannedSlot,
  { adapter, state, given }: Addition,
): AdapterPart {
  switch (planned.kind) {
    case 'layer': {
      const make = (inner: UnaryModule) =>
        new AdaptedLinear(engine, inner as LinearLike, planned.layer, state);
      const layer = slotAt(root, planned.path, make, AdaptedLinear);
      layer.addAdapter(adapter, planned, given);
      return layer;
    }
    case 'bias': {
      const make = (inner: UnaryModule) => new TrainedBias(inner, planned.path, state);
      const bias = slotAt(root, planned.path, make, TrainedBias);
      bias.addAdapter(adapter, planned, given);
      return bias;
    }
    case 'copy': {
      const make = (inner: UnaryModule) => new SavedModule(engine, inner, planned.path, state);
      const module = slotAt(root, planned.path, make, SavedModule);
      module.addAdapter(adapter, planned, given);
      return module;
    }
    case 'prompt': {
      const prompt = PromptSlot.on(engine, root, state);
      prompt.addAdapter(adapter, planned, given);
      return prompt;
    }
  }
}

/** Takes every slot out: the model has its own modules again. What adapters held is freed. */
export function extract(root: Module, adapters: Iterable<string>): void {
  const names = [...adapters];
  const prompts = PromptSlot.of(root);
  for (const name of names) prompts?.removeAdapter(name);
  prompts?.remove();
  for (const [path, module] of [...baseModules(root)]) {
    if (!(module instanceof AdapterSlot)) continue;
    root.replaceSubmodule(path, original(module));
    for (let found: Module = module; found instanceof AdapterSlot; found = found.inner)
      for (const name of names) found.removeAdapter(name);
  }
}

/**
 * From the outside in: an adapter computes on what other adapters have trained of the layer's own
 * parameters.
 */
const order = [AdaptedLinear, TrainedBias, SavedModule];

/** The slot of a type at a path of the base, made where it belongs when there is none. */
function slotAt<S extends AdapterSlot>(
  root: Module,
  path: string,
  make: (inner: UnaryModule) => S,
  type: new (...args: never[]) => S,
): S {
  const rank = (t: unknown) => order.indexOf(t as (typeof order)[number]);
  let at = treePath(root, path);
  let found = root.submodule<UnaryModule>(at);
  while (found instanceof AdapterSlot && rank(found.constructor) < rank(type)) {
    at = `${at}.${innerName(found)}`;
    found = found.inner;
  }
  if (found instanceof type) return found;
  const made = make(found);
  root.replaceSubmodule(at, made);
  return made;
}

/** Files may hold 16-bit adapters; parameters are float32. */
const upload = (engine: Engine, values: ReadonlyMap<string, HostTensorData>): Map<string, Tensor> =>
  new Map(
    [...values].map(([name, { data, shape, dtype }]) => [
      name,
      engine.fromBytes(data, shape, dtype).cast('float32'),
    ]),
  );

/** Overwrites a parameter's values; an optimizer that knows the parameter sees the new ones. */
export function writeInto(
  engine: Engine,
  parameter: Parameter,
  { data, shape, dtype }: HostTensorData,
): void {
  engine.scope('load adapter', () => {
    ops.assign(parameter.tensor, engine.fromBytes(data, shape, dtype));
  });
}

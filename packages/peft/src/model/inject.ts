import {
  type Engine,
  type HostTensorData,
  type LinearLike,
  type Module,
  ops,
  type Parameter,
  type Tensor,
} from '@attune/core';
import type { AdapterPlan } from '../plan/planAdapter.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import {
  AdapterSlot,
  type AdapterSwitch,
  baseModules,
  innerName,
  original,
  treePath,
  type UnaryModule,
} from '../slots/adapterSlot.js';
import { initialised } from '../slots/initialised.js';
import { PromptSlot } from '../slots/promptSlot.js';
import { SavedModule } from '../slots/savedModule.js';
import { TrainedBias } from '../slots/trainedBias.js';

/**
 * Puts an adapter into the model: wraps the planned modules in place, where they are not wrapped yet.
 *
 * @param values its tensors by their names in files; without, they start as the method says
 */
export function inject(
  engine: Engine,
  root: Module,
  plan: AdapterPlan,
  adapter: string,
  state: AdapterSwitch,
  values?: ReadonlyMap<string, HostTensorData>,
): void {
  engine.noGrad(() =>
    engine.scope('inject adapter', () => {
      const uploaded = values && upload(engine, values);
      const shared = new Map(
        Object.entries(plan.shared).map(([name, spec]) => [
          name,
          uploaded?.get(spec.key ?? name) ?? initialised(engine, spec),
        ]),
      );
      if (plan.prompt)
        PromptSlot.on(engine, root, state).addAdapter(
          adapter,
          plan.method,
          plan.config,
          plan.prompt,
          uploaded,
        );
      for (const { info, config, specs } of plan.layers)
        slot(
          root,
          info.path,
          (inner) => new AdaptedLinear(engine, inner as LinearLike, info, state),
          AdaptedLinear,
        ).addAdapter(adapter, plan.method, config, specs, uploaded, { specs: plan.shared, shared });
      for (const { path, fileName } of plan.biases)
        slot(root, path, (inner) => new TrainedBias(inner, path, state), TrainedBias).addAdapter(
          adapter,
          fileName,
          uploaded?.get(fileName),
        );
      for (const { path, parameters } of plan.saved)
        slot(
          root,
          path,
          (inner) => new SavedModule(engine, inner, path, state),
          SavedModule,
        ).addAdapter(adapter, parameters, uploaded);
    }),
  );
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

/** From the outside in: an adapter computes on what other adapters have trained of the layer's own parameters. */
const order = [AdaptedLinear, TrainedBias, SavedModule];

/** The slot of a type at a path of the base, made where it belongs when there is none. */
function slot<S extends AdapterSlot>(
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

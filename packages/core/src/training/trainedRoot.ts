import type { LanguageModel } from '../models/languageModel.js';
import { Module } from '../nn/module.js';
import type { Objective } from './objective.js';

/**
 * What a run trains, plans and counts: the model's modules, then those of the objective under
 * `objective.<name>`. Without such, the model's root itself.
 */
export const trainedRoot = (
  { root }: Pick<LanguageModel, 'root'>,
  { modules }: Pick<Objective, 'modules'>,
): Module => (modules && Object.keys(modules).length > 0 ? new TrainedRoot(root, modules) : root);

/** Two trees that are walked as one. Paths within the model stay what they are. */
class TrainedRoot extends Module {
  constructor(
    private readonly model: Module,
    private readonly modules: Readonly<Record<string, Module>>,
  ) {
    super();
  }

  override *namedModules(prefix = ''): Generator<[string, Module]> {
    yield* this.model.namedModules(prefix);
    const own = prefix ? `${prefix}.objective` : 'objective';
    for (const [name, module] of Object.entries(this.modules))
      yield* module.namedModules(`${own}.${name}`);
  }

  override get training(): boolean {
    return this.model.training;
  }
}

import { alphaPoObjective, cpoObjective, simpoObjective } from '../objectives/cpo.js';
import { dpoObjective } from '../objectives/dpo.js';
import { ipoObjective } from '../objectives/ipo.js';
import { ktoObjective } from '../objectives/kto.js';
import { orpoObjective } from '../objectives/orpo.js';
import { AlignmentTrainer, type NamedTrainerOptions } from './alignmentTrainer.js';

/** Direct preference optimisation: `dpoObjective`. */
export class DPOTrainer extends AlignmentTrainer<typeof dpoObjective.options> {
  constructor(options: NamedTrainerOptions<typeof dpoObjective>) {
    super({ ...options, objective: dpoObjective });
  }
}

/** Identity preference optimisation: `ipoObjective`. */
export class IPOTrainer extends AlignmentTrainer<typeof ipoObjective.options> {
  constructor(options: NamedTrainerOptions<typeof ipoObjective>) {
    super({ ...options, objective: ipoObjective });
  }
}

/** Answers that are labelled one by one: `ktoObjective`. Pairs become two rows each. */
export class KTOTrainer extends AlignmentTrainer<typeof ktoObjective.options> {
  constructor(options: NamedTrainerOptions<typeof ktoObjective>) {
    super({ ...options, objective: ktoObjective });
  }
}

/** Odds-ratio preference optimisation: `orpoObjective`. */
export class ORPOTrainer extends AlignmentTrainer<typeof orpoObjective.options> {
  constructor(options: NamedTrainerOptions<typeof orpoObjective>) {
    super({ ...options, objective: orpoObjective });
  }
}

/** Contrastive preference optimisation: `cpoObjective`. */
export class CPOTrainer extends AlignmentTrainer<typeof cpoObjective.options> {
  constructor(options: NamedTrainerOptions<typeof cpoObjective>) {
    super({ ...options, objective: cpoObjective });
  }
}

/** Simple preference optimisation: `simpoObjective`. */
export class SimPOTrainer extends AlignmentTrainer<typeof simpoObjective.options> {
  constructor(options: NamedTrainerOptions<typeof simpoObjective>) {
    super({ ...options, objective: simpoObjective });
  }
}

/** Preference optimisation with AlphaPO's reward: `alphaPoObjective`. */
export class AlphaPOTrainer extends AlignmentTrainer<typeof alphaPoObjective.options> {
  constructor(options: NamedTrainerOptions<typeof alphaPoObjective>) {
    super({ ...options, objective: alphaPoObjective });
  }
}

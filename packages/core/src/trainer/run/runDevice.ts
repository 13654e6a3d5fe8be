import { Pacer } from '../../backend/pacer.js';
import type { Optimizer } from '../../optim/optimizer.js';
import { LossScaler } from '../loop/lossScaler.js';
import { StepMeter } from '../loop/meter.js';
import { trainableGroups } from '../makeOptimizer.js';
import type { TrainingContext } from '../trainingContext.js';

/** What a run holds on the device beside the model, and how far it may get ahead of it. */
export class RunDevice {
  readonly optimizer: Optimizer;
  /** Float16 arithmetic alone has one: bfloat16 has the range of float32. */
  readonly lossScaler: LossScaler | null;
  readonly meter: StepMeter;
  readonly pacer: Pacer;

  constructor({
    model,
    objective,
    args,
    optimizers,
  }: Pick<TrainingContext, 'model' | 'objective' | 'args' | 'optimizers'>) {
    const { engine } = model;
    const [makeOptimizer] = optimizers;
    this.optimizer = makeOptimizer(engine, trainableGroups(model, objective, args));
    this.lossScaler = args.fp16 ? new LossScaler(engine) : null;
    this.meter = new StepMeter(engine, {
      sticky: Number(args.nonFinite === 'stop'),
      scaled: Number(args.fp16),
    });
    this.pacer = new Pacer(engine.backend, 2, args.maxMemory !== null);
  }

  /**
   * What must be waited for between the optimizer and the end of an update: state that lies in host
   * memory and, once in 256 updates, the numbers of those before, which fill their table.
   */
  async settle(): Promise<void> {
    await this.optimizer.settle?.();
    await this.meter.makeRoom();
  }

  dispose(): void {
    this.optimizer.dispose();
    this.lossScaler?.dispose();
    this.meter.dispose();
  }
}

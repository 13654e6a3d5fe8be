import type { Communicator } from '../../distributed/communicator.js';
import { broadcastJson, gatherJson, sumNumbers, sumTensors } from '../../distributed/exchange.js';
import type { Parameter } from '../../nn/module.js';
import type { TrainerControl } from '../../training/callback.js';
import { AttuneError } from '../../util/errors.js';
import type { RunDevice } from '../run/runDevice.js';
import type { StopReason, StopRequest } from './stopRequest.js';

const flags = [
  'shouldTrainingStop',
  'shouldEpochStop',
  'shouldLog',
  'shouldEvaluate',
  'shouldSave',
] as const satisfies readonly (keyof TrainerControl)[];

/**
 * What the ranks of a run tell one another, so that all make the same updates from the same
 * numbers, and stop, evaluate and save at the same ones. A run of one rank has none of it: its
 * context has null in this place.
 */
export class Ranks {
  /** Others do not answer any more: what was learned is still to be saved. */
  #isLost = false;

  constructor(private readonly communicator: Communicator) {}

  get rank(): number {
    return this.communicator.rank;
  }

  /** The one rank that writes checkpoints, logs and what trackers write. */
  get isWriter(): boolean {
    return this.communicator.rank === 0;
  }

  /** What each rank's part of the update has, added up: items of the loss, tokens. */
  sum(numbers: readonly number[]): Promise<number[]> {
    return sumNumbers(this.communicator, numbers);
  }

  /** A value of JSON of each rank. Where ranks are lost: of this one alone. */
  async gather<T>(value: T): Promise<T[]> {
    return this.#isLost ? [value] : gatherJson(this.communicator, value);
  }

  /** What rank 0 makes, on every rank. */
  async fromWriter<T>(make: () => Promise<T>): Promise<T> {
    const own = this.isWriter ? await make() : undefined;
    return broadcastJson(this.communicator, own as T);
  }

  /**
   * The gradient of all rows, its loss and metrics in place of those of the rank's own. All ranks
   * then clip by the same norm, and skip the same updates.
   *
   * @throws RANKS_OPTIMIZER where the optimizer does not say where its gradients lie
   */
  async sumGradients({ optimizer, meter }: RunDevice): Promise<void> {
    if (!optimizer.gradients)
      throw new AttuneError(
        'RANKS_OPTIMIZER',
        'this optimizer does not give its gradients, so ranks cannot add them up.',
        { remedy: 'Use an optimizer of core, or implement Optimizer.gradients.' },
      );
    await sumTensors(this.communicator, optimizer.gradients());
    await meter.sumOver(this.communicator);
  }

  /** The weights of rank 0, so that all begin with the same. */
  async shareWeights(parameters: Iterable<Parameter>): Promise<void> {
    for (const { tensor } of new Set(parameters)) {
      const own = this.isWriter ? ((await tensor.data()) as Float32Array<ArrayBuffer>) : null;
      const values = await this.communicator.broadcast(own);
      const { engine, storage, byteOffset } = tensor;
      if (!this.isWriter) engine.backend.write(storage.buffer, byteOffset, values);
    }
  }

  /** What one rank's callbacks ask for, or a request to end of one, is asked for on all. */
  async agree(control: TrainerControl, stop: StopRequest): Promise<void> {
    const all = await this.gather({
      asked: flags.filter((flag) => control[flag]),
      stop: stop.asked,
    });
    for (const { asked } of all) for (const flag of asked) control[flag] = true;
    const reason = all.find((other): other is { asked: typeof other.asked; stop: StopReason } =>
      Boolean(other.stop),
    );
    if (reason) stop.end(reason.stop);
  }

  /**
   * Ranks that do not do the same would wait for each other without end.
   *
   * @param facts what all must share
   * @throws RANKS_DIFFER
   */
  async checkSame(facts: object): Promise<void> {
    const all = await this.gather(facts as Readonly<Record<string, unknown>>);
    const [first] = all;
    for (const [rank, other] of all.entries()) {
      const key = Object.keys(first!).find((name) => first![name] !== other[name]);
      if (key === undefined) continue;
      throw new AttuneError(
        'RANKS_DIFFER',
        `${key} is ${JSON.stringify(first![key])} on rank 0 and ${JSON.stringify(other[key])} on rank ${rank}.`,
        { remedy: 'Start every rank with the same script, model, rows and arguments.' },
      );
    }
  }

  async barrier(): Promise<void> {
    if (!this.#isLost) await this.communicator.barrier();
  }

  /** This rank's run ends with an error: others must not wait for it. */
  fail(reason: unknown): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.communicator.abort(reason);
  }
}

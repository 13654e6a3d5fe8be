import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import { type StepMeter, type StepRow, summarize, type WindowSummary } from '../loop/meter.js';
import { checkFinite, countSkipped } from '../loop/nonFinite.js';
import { type CheckpointJson, stepRows } from './checkpoint/checkpointJson.js';
import type { Position } from './dataCursor.js';

type Saved = CheckpointJson['attune_state.json'];

/** The updates since the last row of the log, and the sums over all before them. */
export class LogWindow {
  /** Where the rows after each update of the window begin. */
  readonly #positions = new Map<number, Position>();
  #lossSum = 0;
  #lossSteps = 0;
  /** Updates skipped after each other, up to the last log. */
  #skippedInARow = 0;
  #loggedStep: number;

  /** @param step updates done */
  constructor(
    private readonly meter: StepMeter,
    private readonly args: TrainingArguments,
    step: number,
  ) {
    this.#loggedStep = step;
  }

  /** The update of the last row of the log. */
  get loggedStep(): number {
    return this.#loggedStep;
  }

  /** Mean over all updates of the run that changed something. */
  get meanLoss(): number {
    return this.#lossSteps > 0 ? this.#lossSum / this.#lossSteps : Number.NaN;
  }

  /** An update was made. @param position where the rows after it begin */
  add(step: number, position: Position): void {
    this.#positions.set(step, position);
  }

  /**
   * Closes the window: what its updates were like. The only wait for the device between
   * evaluations.
   *
   * @throws NON_FINITE
   */
  async close(step: number): Promise<WindowSummary> {
    const rows = await this.meter.take();
    checkFinite(rows, this.#loggedStep, this.#positions, this.args);
    this.#skippedInARow = this.#countSkipped(rows);
    this.#positions.clear();
    this.#loggedStep = step;
    const summary = summarize(rows);
    this.#lossSum += summary.lossSum;
    this.#lossSteps += summary.steps;
    return summary;
  }

  /**
   * Before anything is measured or saved. Waits for the device, unless `nonFinite` is "skip".
   *
   * @throws NON_FINITE
   */
  async checkFinite(): Promise<void> {
    if (this.args.nonFinite === 'skip') return;
    checkFinite(await this.#look(), this.#loggedStep, this.#positions, this.args);
  }

  /** For a checkpoint. Waits for the device. @throws NON_FINITE */
  async export(): Promise<
    Omit<Saved, 'geometry' | 'position' | 'evaluation_due' | 'skipped_steps'>
  > {
    const rows = await this.#look();
    this.#countSkipped(rows);
    return {
      logged_step: this.#loggedStep,
      skipped_in_a_row: this.#skippedInARow,
      loss_sum: this.#lossSum,
      loss_steps: this.#lossSteps,
      rows_since_log: rows,
    };
  }

  import(saved: Saved): void {
    this.#loggedStep = saved.logged_step;
    this.#skippedInARow = saved.skipped_in_a_row;
    this.#lossSum = saved.loss_sum ?? Number.NaN;
    this.#lossSteps = saved.loss_steps;
    this.meter.putBack(stepRows(saved.rows_since_log));
  }

  /** The rows, which stay. */
  async #look(): Promise<readonly StepRow[]> {
    const rows = await this.meter.take();
    this.meter.putBack(rows);
    return rows;
  }

  #countSkipped(rows: readonly StepRow[]): number {
    return countSkipped(rows, this.#loggedStep, this.#skippedInARow, this.args);
  }
}

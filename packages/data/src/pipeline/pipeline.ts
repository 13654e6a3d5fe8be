import { type Attune, AttuneError, type Logger, type Row } from '@attune/core';
import { nearest, parseOptions, snakeToCamel } from '@attune/core/util';
import { type BackInstructOptions, backInstructStage } from '../augment/backInstruct.js';
import { type BackTranslateOptions, backTranslateStage } from '../augment/backTranslate.js';
import { type EvolInstructOptions, evolInstructStage } from '../augment/evolInstruct.js';
import {
  type PreferencePairsOptions,
  preferencePairsStage,
} from '../augment/makePreferencePairs.js';
import { type SelfInstructOptions, selfInstructStage } from '../augment/selfInstruct.js';
import type { DataRow, SplitName } from '../contract/dataRow.js';
import { type DataStage, DataStages } from '../contract/dataStage.js';
import { checkRows, type RowsInput } from '../contract/rowsInput.js';
import { type CurriculumOptions, curriculumStage } from '../curriculum/curriculum.js';
import { dedupeStage } from '../dedup/dedupe.js';
import type { DedupeOptions } from '../dedup/options.js';
import { mixStage } from '../mix/mix.js';
import type { MixSource, MixStageOptions } from '../mix/mixOptions.js';
import { type QualityOptions, qualityStage } from '../quality/qualityStage.js';
import { type KeepTopOptions, keepTopStage } from '../selection/keepTop.js';
import { type ScoreIfdOptions, scoreIfdStage } from '../selection/scoreIfd.js';
import {
  type ScoreLevelOptions,
  scoreComplexityStage,
  scoreQualityStage,
} from '../selection/scoreLevels.js';
import { type SelectDiverseOptions, selectDiverseStage } from '../selection/selectDiverse.js';
import { type SplitOptions, splitStage } from '../split/splitStage.js';
import { type FilterOptions, filterOptionsOf, filterStage } from '../stages/filter.js';
import { builtinStages } from '../stages/index.js';
import { type MapOptions, mapOptionsOf, mapStage } from '../stages/map.js';
import { type ValidateOptions, validateStage } from '../stages/validate.js';
import type { DataReport } from './dataReport.js';
import { checkPipelineOptions } from './runOptions.js';
import { runPipeline } from './runPipeline.js';
import type { PlannedStage, StageProgress } from './runStages.js';
import type { LostRow } from './stageTally.js';
import { type PipelineWriteOptions, writePipeline } from './writePipeline.js';

/** What a pipeline runs with. */
export interface PipelineOptions {
  /** Seeds what stages draw, unless their options have a seed. Default 0. */
  readonly seed?: number;
  /** Loads models that options name, and has the stages of plugins. Default: none. */
  readonly attune?: Attune | null;
  /** Told as rows pass: at most every 1024 rows of a stage, and at its end. */
  readonly onProgress?: (progress: StageProgress) => void;
  /** Stops the run: what is read rejects with its reason. */
  readonly signal?: AbortSignal | null;
  /** Default: silent. */
  readonly logger?: Logger;
}

/** All that came of a pipeline, in memory. */
export interface PipelineOutcome {
  readonly rows: readonly Row[];
  /** The same rows by their part; without a split all are in `train`. */
  readonly splits: Readonly<Record<SplitName, readonly Row[]>>;
  readonly dropped: readonly LostRow[];
  readonly quarantined: readonly LostRow[];
  readonly report: DataReport;
}

/** A step of a pipeline: rows, options, and the stages so far. */
interface Plan {
  readonly source: RowsInput;
  readonly options: PipelineOptions;
  readonly stages: readonly PlannedStage[];
}

/**
 * Rows on their way through stages. Each method gives a new pipeline with one stage more; nothing
 * is read until rows are asked for, one by one.
 *
 * @example
 * const { report } = await pipeline(rows)
 *   .filter({ keep: (row) => row.language === 'en', reason: 'other language' })
 *   .map(({ question, answer }) => ({ prompt: question, completion: answer }))
 *   .collect();
 */
export class DataPipeline {
  private constructor(private readonly plan: Plan) {}

  /** @internal */
  static of(source: RowsInput, options: PipelineOptions): DataPipeline {
    return new DataPipeline({ source, options, stages: [] });
  }

  /** Leaves out rows that are copies, or nearly, of one that stays. */
  dedupe(options: DedupeOptions = {}): DataPipeline {
    return this.stage(dedupeStage, options);
  }

  /** Leaves out the rows that a function refuses: it alone, or `{ keep, reason }`. */
  filter(options: FilterOptions | FilterOptions['keep']): DataPipeline {
    return this.stage(filterStage, filterOptionsOf(options));
  }

  /** Checks that rows are what a Trainer takes, and changes their format. */
  validate(options: ValidateOptions = {}): DataPipeline {
    return this.stage(validateStage, options);
  }

  /** Changes each row by a function: it gives the row that takes the place of a row. */
  map(options: MapOptions | MapOptions['change']): DataPipeline {
    return this.stage(mapStage, mapOptionsOf(options));
  }

  /** Mixes other sources into the rows: `ratio` is the share of the result that a source is. */
  mix(sources: readonly MixSource[], options: Omit<MixStageOptions, 'sources'> = {}): DataPipeline {
    return this.stage(mixStage, { ...options, sources });
  }

  /** Adds `ifd` to each row: how little its instruction helps with its answer. */
  scoreIfd(options: ScoreIfdOptions): DataPipeline {
    return this.stage(scoreIfdStage, options);
  }

  /** Adds `complexity`, from 1 to 6: how hard the instruction is to a model that judges. */
  scoreComplexity(options: ScoreLevelOptions): DataPipeline {
    return this.stage(scoreComplexityStage, options);
  }

  /** Adds `quality`, from 1 to 6: how well the row answers, to a model that judges. */
  scoreQuality(options: ScoreLevelOptions): DataPipeline {
    return this.stage(scoreQualityStage, options);
  }

  /** Leaves rows that are unlike each other, within a budget. */
  selectDiverse(options: SelectDiverseOptions): DataPipeline {
    return this.stage(selectDiverseStage, options);
  }

  /** Leaves the rows with the best numbers in a column. */
  keepTop(options: KeepTopOptions): DataPipeline {
    return this.stage(keepTopStage, options);
  }

  /** Orders rows from easy to hard. */
  curriculum(options: CurriculumOptions): DataPipeline {
    return this.stage(curriculumStage, options);
  }

  /** Marks each row as train, validation or test, so that no group is on two sides. */
  split(options: SplitOptions = {}): DataPipeline {
    return this.stage(splitStage, options);
  }

  /** Judges rows by checks, and leaves out or scores those with faults. */
  quality(options: QualityOptions): DataPipeline {
    return this.stage(qualityStage, options);
  }

  /** Adds harder and rarer versions of instructions, written and answered by a model. */
  evolInstruct(options: EvolInstructOptions): DataPipeline {
    return this.stage(evolInstructStage, options);
  }

  /** Adds instructions that a model makes up after those of the rows, with its answers. */
  selfInstruct(options: SelfInstructOptions): DataPipeline {
    return this.stage(selfInstructStage, options);
  }

  /** Makes pairs of texts: a model writes the instruction that each answers, and scores it. */
  backInstruct(options: BackInstructOptions): DataPipeline {
    return this.stage(backInstructStage, options);
  }

  /** Adds paraphrases of instructions, translated into another language and back. */
  backTranslate(options: BackTranslateOptions): DataPipeline {
    return this.stage(backTranslateStage, options);
  }

  /** Makes a preference pair of each prompt: several answers are drawn and scored. */
  makePreferencePairs(options: PreferencePairsOptions): DataPipeline {
    return this.stage(preferencePairsStage, options);
  }

  /**
   * Adds a stage: one that `defineDataStage` made, or the name of a built-in one or of a plugin's.
   *
   * @throws DATA_STAGE_UNKNOWN with the nearest name; UNKNOWN_OPTION, INVALID_OPTION
   */
  stage(stage: DataStage | string, options: object = {}): DataPipeline {
    const found =
      typeof stage === 'string' ? stageNamed(stage, this.plan.options.attune ?? null) : stage;
    const checked = parseOptions(found.options, options, { where: found.name });
    return new DataPipeline({
      ...this.plan,
      stages: [...this.plan.stages, { stage: found, options: checked }],
    });
  }

  /**
   * The same rows and stages, run with other options: on a device that is opened when the stages
   * are known.
   *
   * @throws UNKNOWN_OPTION, INVALID_OPTION
   */
  with(options: PipelineOptions): DataPipeline {
    checkPipelineOptions(options, 'with');
    return new DataPipeline({ ...this.plan, options: { ...this.plan.options, ...options } });
  }

  /**
   * The rows at the end, one after the other, each with its origin and, after a split, its part.
   */
  rows(): AsyncIterable<DataRow> {
    return runPipeline(this.plan).rows;
  }

  /** All rows at the end, what was left out, and the report. */
  async collect(): Promise<PipelineOutcome> {
    const dropped: LostRow[] = [];
    const quarantined: LostRow[] = [];
    const lost = { dropped, quarantined };
    const running = runPipeline({ ...this.plan, onLost: (row, kind) => void lost[kind].push(row) });
    const rows: Row[] = [];
    const splits: Record<SplitName, Row[]> = { train: [], validation: [], test: [] };
    for await (const { row, split = 'train' } of running.rows) {
      rows.push(row);
      splits[split].push(row);
    }
    return { rows, splits, dropped, quarantined, report: running.report() };
  }

  /**
   * Writes the rows into a folder, which appears whole or not at all: `train.jsonl`, after a split
   * `validation.jsonl` and `test.jsonl`; `quarantine.jsonl` with what was put aside, why, and as it
   * was; `report.json` and, to look at, `report.html`.
   *
   * A costly stage that is given the same rows and options as in the run before is not run again,
   * and a run that was killed goes on where it was: `cacheDir`. When a run succeeds, rows that were
   * kept and that it had no use for are removed; results of single calls stay.
   *
   * @throws DATA_OUTPUT for a folder that is there; OUTPUT_DIR_IN_USE, DISK_WRITE
   */
  writeTo(folder: string, options: PipelineWriteOptions = {}): Promise<DataReport> {
    return writePipeline(this.plan, folder, options);
  }
}

/**
 * Begins a pipeline: rows, then stages, then where they go.
 *
 * @param rows an array, an iterable, or what `readRows` and its like give
 * @throws DATA_ROWS for what is none; UNKNOWN_OPTION, INVALID_OPTION
 */
export function pipeline(rows: RowsInput, options: PipelineOptions = {}): DataPipeline {
  checkRows(rows, 'rows');
  checkPipelineOptions(options, 'pipeline');
  return DataPipeline.of(rows, options);
}

/**
 * Built-in stages, and those of an Attune's plugins; `keep_top` is `keepTop`.
 *
 * @throws DATA_STAGE_UNKNOWN
 */
export function stageNamed(name: string, attune: Attune | null): DataStage {
  const registry = attune?.registry(DataStages);
  for (const spelt of [name, snakeToCamel(name)]) {
    if (registry?.names.includes(spelt)) return registry.get(spelt);
    const builtin = builtinStages.find((stage) => stage.name === spelt);
    if (builtin) return builtin;
  }
  const known = [
    ...new Set([...builtinStages.map((stage) => stage.name), ...(registry?.names ?? [])]),
  ];
  const near = nearest(name, known);
  throw new AttuneError(
    'DATA_STAGE_UNKNOWN',
    `there is no stage "${name}".${near === undefined ? '' : ` Did you mean "${near}"?`}`,
    {
      remedy: `Stages: ${known.sort().join(', ')}. A plugin's are found through { attune }, or --plugin of the command.`,
    },
  );
}

export * from './augment/index.js';
export {
  type PlanDataPipelineOptions,
  type PlannedDataPipeline,
  planDataPipeline,
} from './config/planDataPipeline.js';
export { type RunDataPipelineOptions, runDataPipeline } from './config/runDataPipeline.js';
export {
  type DataRow,
  formatOrigin,
  isProblem,
  type ReadRow,
  type RowOrigin,
  type RowProblem,
  type SplitName,
} from './contract/dataRow.js';
export {
  type DataStage,
  type DataStageDefinition,
  DataStages,
  defineDataStage,
  type HeldRows,
  type StageCache,
  type StageContext,
} from './contract/dataStage.js';
export type { EmbedCall, Embedder } from './contract/embedder.js';
export type { RowsInput } from './contract/rowsInput.js';
export { type CurriculumOptions, curriculum } from './curriculum/curriculum.js';
export type { ClusterFacts } from './dedup/clusters.js';
export { dedupe } from './dedup/dedupe.js';
export type { DedupeReport } from './dedup/dedupeFacts.js';
export type { DedupeOptions, NearOptions, SemanticOptions } from './dedup/options.js';
export type { EmbedderChoice } from './embedders/embedderChoice.js';
export { type EndpointEmbedderOptions, endpointEmbedder } from './embedders/endpointEmbedder.js';
export { type ModelEmbedderOptions, modelEmbedder } from './embedders/modelEmbedder.js';
export type { ColumnSummary, ValueType } from './inspect/columnTally.js';
export type { FileFormat } from './inspect/fileFormat.js';
export {
  type FileInspection,
  type InspectFileOptions,
  inspectFile,
} from './inspect/inspectFile.js';
export type { LengthSummary } from './inspect/lengthTally.js';
export * from './judge/index.js';
export { type FindLeaksOptions, findLeaks, leakReport } from './leaks/findLeaks.js';
export type { Boilerplate, Leak, LeakReport } from './leaks/leakFinder.js';
export { type MixRun, type MixServices, type MixState, mix } from './mix/mix.js';
export type { MixOptions, MixSource, MixStageOptions } from './mix/mixOptions.js';
export type { MixReport } from './mix/mixRows.js';
export type { ModelChoice, TokenizerChoice } from './models/modelChoice.js';
export type { DataReport } from './pipeline/dataReport.js';
export {
  DataPipeline,
  type PipelineOptions,
  type PipelineOutcome,
  pipeline,
} from './pipeline/pipeline.js';
export type { StageProgress } from './pipeline/runStages.js';
export {
  type StageFunction,
  type StageOutcome,
  type StageRun,
  type StageServices,
  stageFunction,
} from './pipeline/stageFunction.js';
export type { LostRow, StageFacts, StageReport } from './pipeline/stageTally.js';
export type { PipelineWriteOptions } from './pipeline/writePipeline.js';
export { data } from './plugin.js';
export * from './providers/index.js';
export * from './quality/index.js';
export { reportHtml } from './report/reportHtml.js';
export type { Histogram, NumberSummary, RowStatistics } from './report/rowStatistics.js';
export { convertRow, unpairRow } from './schemas/convertRow.js';
export { detectSchema, schemaOf } from './schemas/detectSchema.js';
export { rowSchemas, SCHEMA_NAMES, type SchemaName } from './schemas/rowSchemas.js';
export { answerOf, promptOf, rowText } from './schemas/rowText.js';
export { type KeepTopOptions, keepTop } from './selection/keepTop.js';
export type { ScoreSummary } from './selection/scoreFacts.js';
export { type IfdReport, type ScoreIfdOptions, scoreIfd } from './selection/scoreIfd.js';
export {
  type LevelReport,
  type ScoreLevelOptions,
  scoreComplexity,
  scoreQuality,
} from './selection/scoreLevels.js';
export {
  type SelectDiverseOptions,
  type SelectDiverseReport,
  selectDiverse,
} from './selection/selectDiverse.js';
export type { Paths } from './sources/expandPaths.js';
export { type FromHubOptions, fromHub } from './sources/fromHub.js';
export type {
  ReadCsvOptions,
  ReadJsonOptions,
  ReadRowsOptions,
  ReadTableOptions,
  ReadTextOptions,
} from './sources/options.js';
export { readRows } from './sources/readRows.js';
export type { RowFiles } from './sources/rowFiles.js';
export {
  fromArrow,
  fromCsv,
  fromFiles,
  fromJson,
  fromJsonl,
  fromParquet,
  fromText,
  fromTsv,
} from './sources/sources.js';
export { groupSplit, type SplitReport, type SplitRows } from './split/groupSplit.js';
export type { SplitOptions } from './split/splitStage.js';
export type { StratumReport } from './split/strata.js';
export { type FilterOptions, filter } from './stages/filter.js';
export { type MapOptions, map } from './stages/map.js';
export {
  type StandardSchema,
  type ValidateOptions,
  type ValidateReport,
  validate,
} from './stages/validate.js';

import {
  endpointEmbedder,
  findLeaks,
  fromArrow,
  fromCsv,
  fromFiles,
  fromHub,
  fromJson,
  fromJsonl,
  fromParquet,
  fromText,
  fromTsv,
  groupSplit,
  inspectFile,
  judge,
  leakReport,
  localProvider,
  mix,
  modelEmbedder,
  openaiProvider,
  pipeline,
  planDataPipeline,
  readRows,
  runDataPipeline,
} from '@attune/data';
import { dataStageKit, llmProviderKit, qualityCheckKit } from '@attune/data/testing';
import type { OptionCall } from './optionCalls.js';

const checked = (option: string, wrong: unknown, call: OptionCall['call']): OptionCall => ({
  ...{ option, wrong, call },
});
const with_ = (more: object, options: object): never => ({ ...more, ...options }) as never;

const none = null as never;
const name = 'none';
const two = [{}, {}];
const rows = pipeline([]);
const endpoint = { baseUrl: 'http://localhost:9/v1', model: name };
const provider = openaiProvider(endpoint);
const sources = ['a', 'b'].map((letter) => ({ name: letter, rows: [] }));

/** By "pipeline", "DataPipeline#dedupe". The functions of stages check with the same schemas. */
export const dataOptionCalls: Readonly<Record<string, OptionCall>> = {
  // Files
  readRows: checked('columns', 3, async (o) => {
    for await (const _ of readRows('/dev/null', o));
  }),
  fromFiles: checked('format', 3, (o) => fromFiles(name, o)),
  fromArrow: checked('columns', 3, (o) => fromArrow(name, o)),
  fromCsv: checked('header', 3, (o) => fromCsv(name, o)),
  fromHub: checked('revision', 3, (o) => fromHub(name, o)),
  fromJson: checked('encoding', 3, (o) => fromJson(name, o)),
  fromJsonl: checked('encoding', 3, (o) => fromJsonl(name, o)),
  fromParquet: checked('columns', 3, (o) => fromParquet(name, o)),
  fromText: checked('encoding', 3, (o) => fromText(name, o)),
  fromTsv: checked('header', 3, (o) => fromTsv(name, o)),
  inspectFile: checked('rows', 'x', (o) => inspectFile('/dev/null', o)),
  // Pipelines
  pipeline: checked('seed', 'x', (o) => pipeline([], o)),
  'DataPipeline#with': checked('seed', 'x', (o) => rows.with(o)),
  'DataPipeline#writeTo': checked('overwrite', 'x', (o) => rows.writeTo('/dev/null/none', o)),
  planDataPipeline: checked('signal', 'x', (o) => planDataPipeline(name, o)),
  runDataPipeline: checked('signal', 'x', (o) => runDataPipeline(name, o)),
  // Stages
  'DataPipeline#validate': checked('schema', 3, (o) => rows.validate(o)),
  'DataPipeline#dedupe': checked('near', 'x', (o) => rows.dedupe(o)),
  'DataPipeline#quality': checked('checks', 'x', (o) => rows.quality(o)),
  'DataPipeline#scoreIfd': checked('batchSize', 'x', (o) =>
    rows.scoreIfd(with_({ model: name }, o)),
  ),
  'DataPipeline#scoreComplexity': checked('batchSize', 'x', (o) =>
    rows.scoreComplexity(with_({ model: name }, o)),
  ),
  'DataPipeline#scoreQuality': checked('batchSize', 'x', (o) =>
    rows.scoreQuality(with_({ model: name }, o)),
  ),
  'DataPipeline#keepTop': checked('ratio', 2, (o) => rows.keepTop(with_({ by: 'n' }, o))),
  'DataPipeline#selectDiverse': checked('ratio', 2, (o) => rows.selectDiverse(o)),
  'DataPipeline#mix': checked('temperature', -1, (o) => rows.mix(sources, o)),
  'DataPipeline#split': checked('testSize', -1, (o) => rows.split(o)),
  'DataPipeline#curriculum': checked('stages', 1, (o) => rows.curriculum(with_({ by: 'n' }, o))),
  'DataPipeline#evolInstruct': checked('rounds', 'x', (o) =>
    rows.evolInstruct(with_({ provider }, o)),
  ),
  'DataPipeline#selfInstruct': checked('count', 'x', (o) =>
    rows.selfInstruct(with_({ provider, count: 1 }, o)),
  ),
  'DataPipeline#backTranslate': checked('language', 3, (o) =>
    rows.backTranslate(with_({ provider }, o)),
  ),
  'DataPipeline#backInstruct': checked('minScore', 'x', (o) =>
    rows.backInstruct(with_({ provider }, o)),
  ),
  'DataPipeline#makePreferencePairs': checked('samples', 'x', (o) =>
    rows.makePreferencePairs(with_({ provider }, o)),
  ),
  mix: checked('temperature', -1, (o) => mix(sources, o)),
  groupSplit: checked('testSize', -1, (o) => groupSplit([], o)),
  findLeaks: checked('minOverlap', 2, (o) => findLeaks([], [], o)),
  leakReport: checked('minOverlap', 2, (o) => leakReport([], [], o)),
  // Models and endpoints
  modelEmbedder: checked('batchSize', 'x', (o, t) => modelEmbedder(with_({ model: t.model }, o))),
  endpointEmbedder: checked('batchSize', 'x', (o) => endpointEmbedder(with_(endpoint, o))),
  openaiProvider: checked('maxConcurrent', 'x', (o) => openaiProvider(with_(endpoint, o))),
  localProvider: checked('batchSize', 'x', (o, t) => localProvider(with_({ model: t.model }, o))),
  dataStageKit: checked('rows', 'x', (o) => dataStageKit(none, with_({ rows: two }, o))),
  llmProviderKit: checked('isDeterministic', 'x', (o) => llmProviderKit(none, o)),
  qualityCheckKit: checked('rows', 'x', (o) => qualityCheckKit(none, with_({ rows: two }, o))),
  judge: checked('criteria', 3, (o) => judge([], with_({ provider }, o))),
};

import { ReferenceBackend } from './backend/reference/referenceBackend.js';
import { Callbacks, Trackers } from './callbacks/points.js';
import { ProgressCallback } from './callbacks/progress.js';
import { DatasetReaders } from './dataset/datasetReader.js';
import { builtinReaders } from './dataset/readRows.js';
import { definePlugin, PLUGIN_API_VERSION } from './di/plugin.js';
import { ModelFamilies } from './models/families/family.js';
import { gemma } from './models/families/gemma.js';
import { gemma2 } from './models/families/gemma2.js';
import { gemma3 } from './models/families/gemma3.js';
import { gpt2 } from './models/families/gpt2.js';
import { llama } from './models/families/llama.js';
import { mistral } from './models/families/mistral.js';
import { phi3 } from './models/families/phi3.js';
import { qwen2 } from './models/families/qwen2.js';
import { qwen3 } from './models/families/qwen3.js';
import { smollm3 } from './models/families/smollm3.js';
import { bitsAndBytes } from './models/quantization/bitsAndBytes.js';
import { QuantizationFormats } from './models/quantization/quantizationFormat.js';
import { builtinObjectives } from './objectives/builtin.js';
import { builtinOptimizers } from './optim/builtin.js';
import { builtinSchedules } from './optim/builtinSchedules.js';
import { Optimizers } from './optim/points.js';
import { LearningRateSchedules } from './optim/scheduleDefinition.js';
import { Backends } from './points.js';
import {
  HtmlReportCallback,
  JsonlCallback,
  MlflowCallback,
  TensorBoardCallback,
  WandbCallback,
} from './trackers/index.js';
import { Objectives } from './training/objectiveDefinition.js';

const families = [llama, mistral, smollm3, qwen2, qwen3, gemma, gemma2, gemma3, phi3, gpt2];

/** What core itself adds, through the same door as everybody else. */
export const builtins = definePlugin({
  name: 'core',
  version: '0.1.0',
  apiVersion: PLUGIN_API_VERSION,
  register: (context) => {
    context.add(Backends, { name: 'reference', create: async () => new ReferenceBackend() });
    for (const family of families) context.add(ModelFamilies, family);
    for (const objective of builtinObjectives) context.add(Objectives, objective);
    for (const optimizer of builtinOptimizers) context.add(Optimizers, optimizer);
    for (const schedule of builtinSchedules) context.add(LearningRateSchedules, schedule);
    for (const reader of builtinReaders) context.add(DatasetReaders, reader);
    context.add(QuantizationFormats, bitsAndBytes);
    context.add(Callbacks, { name: 'progress', useClass: ProgressCallback });
    // The names of transformers' report_to, and two of our own.
    const file = { writesFiles: true };
    context.add(Trackers, { name: 'tensorboard', useClass: TensorBoardCallback, ...file });
    context.add(Trackers, { name: 'wandb', useClass: WandbCallback, ...file });
    context.add(Trackers, { name: 'mlflow', useClass: MlflowCallback, writesFiles: false });
    context.add(Trackers, { name: 'jsonl', useClass: JsonlCallback, ...file });
    context.add(Trackers, { name: 'html', useClass: HtmlReportCallback, ...file });
  },
});

import type { OptionNotes } from '../../util/unknownOptions.js';

/** Many options with one note. */
const noted = (table: Readonly<Record<string, string>>): OptionNotes =>
  Object.fromEntries(
    Object.entries(table).flatMap(([list, note]) => list.split(' ').map((word) => [word, note])),
  );

const ofTrainer = 'it is an option of the trainer, beside args';
const ofAdapter = "it belongs into peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 }";
const ofModel = 'it belongs into fromPretrained, where the model is loaded';
const ofGenerate = 'it belongs into model.generate({ ... })';

/** Options of other libraries that are no training arguments here: why, or where they belong. */
export const argumentNotes: OptionNotes = noted({
  'mixedprecision precision amp half dtype torchdtype':
    'products in 16 bits are bf16: true or fp16: true; the storage of the weights is dtype of fromPretrained',
  'earlystopping earlystoppingpatience patience':
    'stopping early is a callback: callbacks: [new EarlyStoppingCallback({ earlyStoppingPatience: 3 })]',
  'progress progressbar tqdm verbose showprogress':
    'disableTqdm: false shows a progress bar, or callbacks: [new ProgressCallback()]',
  'dataset traindataset traindata data evaldataset model tokenizer processingclass callbacks peftconfig peft lora adapter formattingfunc computemetrics evaluationtasks optimizers':
    ofTrainer,
  'r rank lorar lorarank alpha loraalpha dropout loradropout targetmodules peftmethod pefttype':
    ofAdapter,
  'quantization quantizationconfig loadin4bit loadin8bit modelname modelnameorpath basemodel':
    ofModel,
  'temperature topk topp dosample maxnewtokens': ofGenerate,
  'device devicemap gpu cuda gpus':
    'the device is that of the Attune: createAttune({ plugins: [dawn()] })',
});

/** Options of other trainers that are none of a trainer here. */
export const trainerNotes: OptionNotes = noted({
  'modelname modelid modelnameorpath':
    'load the model first: model: await AutoModelForCausalLM.fromPretrained(path, { attune })',
  'modelinit modelinitkwargs': 'load the model first, and pass it as model',
  'computeloss computelossfunc loss lossfn':
    'a loss of your own is an objective: new Trainer({ objective }), see docs/writing-an-objective.md',
  'datacollator collator collatefn':
    'the objective makes batches of rows: new Trainer({ objective })',
  'quantization quantizationconfig': ofModel,
  attune: 'the model brings it',
  'device devicemap': 'the device is that of the Attune that loaded the model',
});

import type { OptionHints } from '../../util/unknownOptions.js';

type Table = Readonly<Record<string, string>>;

/** Many words for one option. */
const words = (table: Readonly<Record<string, string>>): Table =>
  Object.fromEntries(
    Object.entries(table).flatMap(([name, list]) => list.split(' ').map((word) => [word, name])),
  );

/** Many options with one note. */
const noted = (table: Readonly<Record<string, string>>): Table =>
  Object.fromEntries(
    Object.entries(table).flatMap(([list, note]) => list.split(' ').map((word) => [word, note])),
  );

const ofTrainer = 'it is an option of the trainer, beside args';
const ofAdapter = "it belongs into peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 }";
const ofModel = 'it belongs into fromPretrained, where the model is loaded';
const ofGenerate = 'it belongs into model.generate({ ... })';

/** What training arguments are called in other libraries. */
export const argumentHints: Omit<OptionHints, 'known'> = {
  synonyms: words({
    perDeviceTrainBatchSize:
      'batch batchsize bs trainbatchsize microbatchsize perdevicebatchsize pergputrainbatchsize',
    perDeviceEvalBatchSize: 'evalbatchsize validationbatchsize valbatchsize pergpuevalbatchsize',
    numTrainEpochs: 'epoch epochs nepochs numepochs maxepochs trainepochs',
    maxSteps: 'steps numsteps trainsteps trainingsteps numtrainsteps totalsteps iterations iters',
    gradientAccumulationSteps:
      'accumulation accumulationsteps gradaccum gradaccumsteps gradientaccumulation',
    learningRate: 'lr rate baselr maxlr peaklr learnrate',
    weightDecay: 'wd decay l2 regularization',
    adamBeta1: 'beta1',
    adamBeta2: 'beta2',
    adamEpsilon: 'eps epsilon',
    optim: 'optimizer optimizertype optimname optimizername',
    maxGradNorm: 'clip clipnorm gradclip gradnorm gradientclipping gradientclipval clipgradnorm',
    labelSmoothingFactor: 'labelsmoothing smoothing',
    neftuneNoiseAlpha: 'neftune neftunealpha noise',
    gradientCheckpointing:
      'checkpointing gradcheckpointing gradientcheckpoint usegradientcheckpointing activationcheckpointing',
    maxMemory: 'memory memorylimit vram maxvram',
    lrSchedulerType: 'scheduler lrscheduler schedule lrschedule schedulertype decaytype',
    warmupSteps: 'warmup numwarmupsteps',
    loggingSteps: 'logsteps logevery loginterval loggingfrequency logfrequency',
    reportTo: 'report tracker trackers loggers logto wandb tensorboard mlflow',
    runName: 'name run experiment experimentname',
    loggingDir: 'logdir',
    evalStrategy: 'evaluationstrategy evaluate doeval eval validationstrategy',
    evalSteps: 'evaluationsteps evalevery evalinterval validationsteps valinterval validateevery',
    saveSteps: 'saveevery saveinterval checkpointevery checkpointsteps',
    saveTotalLimit: 'keepcheckpoints maxcheckpoints savelimit savetopk',
    loadBestModelAtEnd: 'loadbest loadbestmodel restorebestweights',
    metricForBestModel: 'metric bestmetric monitor',
    seed: 'randomseed randomstate',
    maxLength:
      'maxseqlength maxseqlen maxlen seqlen seqlength sequencelength contextlength contextwindow blocksize cutofflen maxtokens modelmaxlength',
    outputDir:
      'output outdir outputpath outputfolder dir folder path savedir savepath checkpointdir',
    resumeFromCheckpoint: 'resume resumefrom checkpoint fromcheckpoint',
    dataloaderDropLast: 'droplast',
    dataloaderPrefetchFactor: 'prefetch prefetchfactor',
    packing: 'pack packsequences samplepacking',
    evalPacking: 'packeval',
    completionOnlyLoss:
      'completiononly trainonresponsesonly trainoncompletions trainoninputs maskprompt masking',
    assistantOnlyLoss: 'assistantonly trainonassistant',
    lossType: 'loss lossfunction lossfn criterion',
    preflight: 'preview check checks',
  }),
  notes: noted({
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
  }),
};

/** What options of a trainer are called in other libraries. */
export const trainerHints: Omit<OptionHints, 'known' | 'elsewhere'> = {
  synonyms: words({
    model: 'basemodel lm llm network',
    tokenizer: 'processingclass tokeniser processor',
    trainDataset:
      'dataset data train traindata trainset trainingdata trainingset trainingdataset rows traindataloader',
    evalDataset:
      'eval evaldata evalset validation validationdata validationset validationdataset valdata valdataset testdataset',
    args: 'arguments trainingargs trainingarguments config options params settings hyperparameters sftconfig',
    peftConfig: 'peft lora loraconfig adapter adapters adapterconfig qlora',
    callbacks: 'callback hooks',
    optimizers: 'optimizerclsandkwargs optimizerclass',
    formattingFunc: 'formattingfunction formatfunc format formatter promptformatter',
    computeMetrics: 'metrics metric computemetric',
    preprocessLogitsForMetrics: 'preprocesslogits',
    evaluationTasks: 'tasks benchmarks evaltasks',
  }),
  notes: noted({
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
  }),
};

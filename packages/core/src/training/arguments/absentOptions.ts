import { snakeToCamel } from '../../util/json.js';

interface Absent {
  /** The values at which it does nothing, its default in transformers or TRL among them. */
  readonly off: readonly unknown[];
  /** Why it is not here, or what does it here. */
  readonly why: string;
}

const both = [true, false];
const oneDevice = 'one device trains';
const noUpload = 'nothing is uploaded: saveModel(folder), then `hf upload`';
const noTorch = 'there is no torch: kernels are made for the device as they are';
const ofTokenizer = 'the tokenizer says it: set it in its files';

const group = (names: string, off: readonly unknown[], why: string) =>
  names.split(' ').map((name): [string, Absent] => [name, { off, why }]);

/**
 * Options of transformers and TRL that are absent on purpose. A script that sets one to a value
 * that means "off", or says what happens anyway, runs as it stands; any other value is an error, so
 * that nobody trains with less than they asked for.
 */
const absent: ReadonlyMap<string, Absent> = new Map([
  ...group('tf32', [false, null], 'products are float32, or bf16 or fp16'),
  ...group('bf16FullEval fp16FullEval', [false], 'evaluation computes as bf16 and fp16 say'),
  ...group('packing', [false], 'SFTTrainer packs'),
  ...group('paddingFree', [false], 'packing: true has no padding either, and keeps rows apart'),
  ...group('optimTargetModules', [null], 'GaLore and its relatives are not here'),
  ...group('adafactor', [false], "write optim: 'adafactor'"),
  ...group('activationCheckpointing', [null, false], 'gradientCheckpointing: true does it'),
  ...group('activationCheckpointingKwargs', [null], 'gradientCheckpointingKwargs has its options'),
  ...group('activationOffloading', [false], 'gradientCheckpointing: true saves that memory'),
  ...group('torchCompile', [false, null], noTorch),
  ...group('torchCompileBackend torchCompileMode torchEmptyCacheSteps', [null], noTorch),
  ...group('useLigerKernel useLiger', [false], 'the fused loss that it brings is built in'),
  ...group('ligerKernelConfig', [null], 'the fused loss that it brings is built in'),
  ...group('useCache', [...both, null], 'training needs no key-value cache'),
  ...group('loggingNanInfFilter', both, 'what is not finite is counted, never averaged in'),
  ...group('logOnEachNode saveOnEachNode averageTokensAcrossDevices', both, oneDevice),
  ...group('logLevel', ['passive'], "messages go to the Attune's logger: createAttune({ logger })"),
  ...group('logLevelReplica', ['warning'], oneDevice),
  ...group('project', ['huggingface'], 'Trackio is not here; reportTo names what is'),
  ...group('trackioSpaceId trackioBucketId trackioStaticSpaceId', [null], 'Trackio is not here'),
  ...group('predictionLossOnly', both, 'outputs are kept for computeMetrics alone'),
  ...group('evalDoConcatBatches', [true], 'computeMetrics is given all outputs as one'),
  ...group('batchEvalMetrics', [false], 'computeMetrics is given all outputs as one'),
  ...group('evalUseGatherObject', [false], oneDevice),
  ...group('evalAccumulationSteps', [null], 'outputs leave the device after each batch'),
  ...group('includeForMetrics', [[]], 'computeMetrics is given predictions and labels'),
  ...group('includeInputsForMetrics', [false], 'computeMetrics is given predictions and labels'),
  ...group('enableJitCheckpoint', both, 'Ctrl-C and SIGTERM end a run with a checkpoint'),
  ...group('overwriteOutputDir', both, 'checkpoints of other runs are never deleted'),
  ...group('saveSafetensors', [true], 'weights are safetensors always'),
  ...group('pushToHub hubAlwaysPush', [false], noUpload),
  ...group('hubToken hubPrivateRepo hubModelId hubRevision', [null], noUpload),
  ...group('hubStrategy', ['every_save'], noUpload),
  ...group(
    'ignoreDataSkip',
    [false],
    'a run that resumes goes on with the rows that it would have had',
  ),
  ...group('fullDeterminism', both, 'every run here is'),
  ...group(
    'useCpu noCuda useMpsDevice',
    [false],
    "the device is the Attune's: createAttune({ backend })",
  ),
  ...group('acceleratorConfig parallelismConfig deepspeed fsdp fsdpConfig', [null], oneDevice),
  ...group('ddpFindUnusedParameters ddpBucketCapMb ddpBroadcastBuffers', [null], oneDevice),
  ...group('ddpStaticGraph ddpBackend', [null], oneDevice),
  ...group('ddpTimeout', [1800], oneDevice),
  ...group('localRank', [-1, 0], oneDevice),
  ...group('dataloaderNumWorkers', [0], 'rows are tokenised while the device works'),
  ...group('dataloaderPinMemory dataloaderPersistentWorkers', both, 'no process loads rows'),
  ...group('dataloaderInOrder', [true], 'rows come in their order'),
  ...group('dataloaderMultiprocessingContext', [null], 'no process loads rows'),
  ...group('removeUnusedColumns', both, 'rows keep their columns until they are tokenised'),
  ...group('labelNames', [null], 'the objective knows its labels'),
  ...group('debug', ['', []], 'trainer.profile() measures'),
  ...group('skipMemoryMetrics', [true], 'trainer.planMemory() says what memory holds'),
  ...group('doTrain doEval doPredict', both, 'train(), evaluate() and predict() are called'),
  ...group('modelInitKwargs', [null], 'the model is loaded before: options of fromPretrained'),
  ...group('trustRemoteCode', [false], "nothing from a model's folder is executed"),
  ...group('routerAuxLossCoef', [null], 'there are no mixtures of experts here'),
  ...group('chatTemplatePath', [null], 'assign tokenizer.chatTemplate'),
  ...group(
    'datasetTextField',
    ['text'],
    'rows of { text } need it not; other columns: formattingFunc',
  ),
  ...group('datasetKwargs datasetNumProc datasetBatchSize', [null], 'rows are read as they are'),
  ...group('eosToken padToken', [null], ofTokenizer),
  ...group('truncationMode', ['keep_start'], 'the end is cut off'),
  ...group('shuffleDataset', [false], 'rows are shuffled in each epoch: shuffle'),
  ...group('padToMultipleOf', ['auto', null], 'rows are padded to a few lengths'),
  ...group('numOfSequences charsPerToken', [null], 'packing counts tokens'),
]);

/** The options that are here, and a sentence for each that is on and is not. */
export function dropAbsentOptions(
  input: Readonly<Record<string, unknown>>,
  known: Readonly<Record<string, unknown>>,
): { readonly kept: Readonly<Record<string, unknown>>; readonly refused: readonly string[] } {
  const kept: Record<string, unknown> = {};
  const refused: string[] = [];
  for (const [key, value] of Object.entries(input)) {
    const name = snakeToCamel(key);
    const option = absent.get(name);
    if (!option || name in known) kept[key] = value;
    else if (value !== undefined && !isOff(value, option.off))
      refused.push(
        `${key}: ${JSON.stringify(value)} is an option of transformers or TRL that this trainer does not have: ${option.why}. Leave it out${option.off.length > 0 ? `, or set it to ${option.off.map((v) => JSON.stringify(v)).join(' or ')}` : ''}.`,
      );
  }
  return { kept, refused };
}

const isOff = (value: unknown, off: readonly unknown[]): boolean =>
  off.includes(value) ||
  (typeof value === 'object' && value !== null && Object.keys(value).length === 0);

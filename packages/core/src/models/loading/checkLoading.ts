import { join, stat } from '#platform';
import type { Attune } from '../../attune.js';
import { readJsonObject } from '../../io/hfConfig.js';
import { describeValue, isPromise } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { checkOptionNames, type OptionHints } from '../../util/unknownOptions.js';

const quantization = 'write quantization: { loadIn4bit: true }';
const device = 'the model goes to the device of the Attune: createAttune({ plugins: [dawn()] })';

/** What options of `from_pretrained` are called in transformers. */
const hints: Omit<OptionHints, 'known'> = {
  synonyms: {
    torchdtype: 'dtype',
    precision: 'dtype',
    quantizationconfig: 'quantization',
    quantize: 'quantization',
    bnbconfig: 'quantization',
    offloadfolder: 'offload',
    cpuoffload: 'offload',
    usetoken: 'token',
    useauthtoken: 'token',
    hftoken: 'token',
    accesstoken: 'token',
    cache: 'cacheDir',
    localonly: 'localFilesOnly',
    offline: 'localFilesOnly',
    endpoint: 'hubUrl',
    branch: 'revision',
    version: 'revision',
    progress: 'onProgress',
    progresscallback: 'onProgress',
    labelnames: 'labels',
    numclasses: 'numLabels',
    engine: 'attune',
    backend: 'attune',
    ignoremismatchedsizes: 'ignoreUnexpected',
  },
  notes: {
    loadin4bit: quantization,
    loadin8bit: 'write quantization: { loadIn8bit: true }',
    bnb4bitquanttype: "write quantization: { loadIn4bit: true, bnb4bitQuantType: 'nf4' }",
    devicemap: device,
    device,
    maxmemory: 'maxMemory is an argument of training: args: { maxMemory }',
    trustremotecode: "nothing from a model's folder is executed",
    attnimplementation: 'there is one attention, which is fused',
    lowcpumemusage: 'weights are read one by one always',
    usesafetensors: 'weights are safetensors always',
    usefast: 'tokenizers are of that kind always',
    paddingside: 'the trainer pads, and generate takes prompts of any lengths',
    plugins: 'they belong to createAttune({ plugins })',
    statedict: 'weights come from the folder',
    config: 'config.json of the folder is read; fromConfig takes one',
    forcedownload: 'delete the folder in the cache',
    resumedownload: 'a broken download goes on always',
    subfolder: 'download it, and give that folder',
    usecache: 'it is an option of generate',
    peftconfig: 'it is an option of the trainer; by hand: getPeftModel(model, config)',
  },
};

/** @throws UNKNOWN_OPTION: an option that nobody reads would be a silent mistake, `quantization` above all */
export function checkLoadOptions(options: unknown, known: readonly string[], where: string): void {
  const names = Object.fromEntries(known.map((name) => [name, true as const]));
  if (options === undefined && known.includes('attune'))
    throw new AttuneError('ATTUNE_NEEDED', `${where} was given no options, so no Attune.`, {
      remedy: `Pass ${where}(path, { attune }), with attune = await createAttune({ plugins: [dawn()] }).`,
    });
  if (typeof options === 'object' && options !== null && 'registry' in options)
    throw new AttuneError('ATTUNE_NEEDED', `${where}: the Attune is one of the options.`, {
      remedy: `Pass ${where}(path, { attune }).`,
    });
  checkOptionNames(where, options, names, 'UNKNOWN_OPTION', hints);
}

/** An Attune that is open. @throws ATTUNE_NEEDED, ATTUNE_DISPOSED */
export function requireAttune(attune: unknown, where: string): asserts attune is Attune {
  const found = attune as Partial<Attune> | null | undefined;
  if (typeof found !== 'object' || found === null || found.engine === undefined)
    throw new AttuneError(
      'ATTUNE_NEEDED',
      `${where}: attune: expected an Attune, found ${describeValue(attune)}.`,
      {
        remedy: isPromise(attune)
          ? 'Write await: const attune = await createAttune({ plugins: [dawn()] }).'
          : 'Pass { attune }, with attune = await createAttune({ plugins: [dawn()] }).',
      },
    );
  if (found.isDisposed)
    throw new AttuneError('ATTUNE_DISPOSED', `${where}: the Attune was disposed before.`, {
      remedy:
        'Load and train before `await using attune` leaves its block, or before attune.dispose(); or create another.',
    });
}

/** A folder that holds an adapter alone is no model. @throws ADAPTER_NOT_MODEL */
export async function refuseAdapterFolder(folder: string): Promise<void> {
  const has = async (name: string) => (await stat(join(folder, name)).catch(() => null)) !== null;
  if ((await has('config.json')) || !(await has('adapter_config.json'))) return;
  const { base_model_name_or_path: base } = await readJsonObject(
    join(folder, 'adapter_config.json'),
  );
  const path = typeof base === 'string' && base ? `'${base}'` : 'base';
  throw new AttuneError('ADAPTER_NOT_MODEL', `${folder} holds an adapter, and no model.`, {
    remedy: `Load the model that it was trained on, then the adapter: PeftModel.fromPretrained(await AutoModelForCausalLM.fromPretrained(${path}, { attune }), '${folder}').`,
  });
}

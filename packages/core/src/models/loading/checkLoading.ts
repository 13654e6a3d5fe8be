import type { z } from 'zod';
import { join, stat } from '#platform';
import type { Attune } from '../../attune.js';
import { readJsonObject } from '../../io/hfConfig.js';
import { describeValue, isPromise } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { checkNames, type OptionsOutput, parseOptions } from '../../util/options.js';
import type { OptionNotes } from '../../util/unknownOptions.js';

const quantization = 'write quantization: { loadIn4bit: true }';
const device = 'the model goes to the device of the Attune: createAttune({ plugins: [dawn()] })';

/** Options of transformers' `from_pretrained` that are none here. */
const notes: OptionNotes = {
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
};

/**
 * Options of loading: an option that nobody reads would be a silent mistake, `quantization` above
 * all.
 *
 * @throws UNKNOWN_OPTION, LOAD_OPTION, ATTUNE_NEEDED, ATTUNE_DISPOSED
 */
export function parseLoadOptions<S extends z.ZodObject>(
  schema: S,
  options: unknown,
  where: string,
): OptionsOutput<S> {
  if (options === undefined)
    throw new AttuneError('ATTUNE_NEEDED', `${where} was given no options, so no Attune.`, {
      remedy: `Pass ${where}(path, { attune }), with attune = await createAttune({ plugins: [dawn()] }).`,
    });
  if (typeof options === 'object' && options !== null && 'registry' in options)
    throw new AttuneError('ATTUNE_NEEDED', `${where}: the Attune is one of the options.`, {
      remedy: `Pass ${where}(path, { attune }).`,
    });
  const place = { where, code: 'LOAD_OPTION', notes };
  checkNames(schema, options, place);
  requireAttune((options as { attune?: unknown }).attune, where);
  return parseOptions(schema, options, place);
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

import { join } from '#platform';
import { SafetensorsFile } from '../../../io/safetensors.js';
import { type TensorToWrite, writeSafetensors } from '../../../io/safetensorsWriter.js';
import type { Parameter } from '../../../nn/module.js';
import { formatShape, sameShape } from '../../../tensor/shape.js';
import type { Tensor } from '../../../tensor/tensor.js';
import type { Objective } from '../../../training/objective.js';
import { AttuneError } from '../../../util/errors.js';

/** The weights of an objective's modules: `value_head.weight` of the module "value_head". */
const MODULES_FILE = 'objective.safetensors';
/** The tensors of its state, under their names. */
const STATE_FILE = 'objective_state.safetensors';

/**
 * What an objective has beside JSON: the weights of its modules and, in a checkpoint from which a
 * run is to go on, the tensors of its state. Files of which nothing would be in them are not
 * written.
 *
 * @param whole with the state
 * @throws WEIGHTS_NON_FINITE
 */
export async function writeObjectiveFiles(
  folder: string,
  objective: Objective,
  whole: boolean,
): Promise<void> {
  const weights = [...parametersOf(objective)].map(
    ([name, parameter]): TensorToWrite => ({
      name,
      dtype: parameter.dtype,
      shape: parameter.shape,
      data: () => parameter.read(),
    }),
  );
  if (weights.length > 0) await writeSafetensors(join(folder, MODULES_FILE), weights);
  const tensors = Object.entries(objective.state?.tensors ?? {}).map(
    ([name, tensor]): TensorToWrite => ({
      name,
      dtype: tensor.dtype,
      shape: tensor.shape,
      data: () => bytesOf(tensor),
    }),
  );
  if (whole && tensors.length > 0)
    await writeSafetensors(join(folder, STATE_FILE), tensors, undefined, { allowNonFinite: true });
}

/** The weights of its modules back, in place. @throws CHECKPOINT_MISMATCH */
export async function readObjectiveModules(folder: string, objective: Objective): Promise<void> {
  await readInto(join(folder, MODULES_FILE), parametersOf(objective), (parameter, data) =>
    parameter.write(data),
  );
}

/** The tensors of its state back, in place. @throws CHECKPOINT_MISMATCH */
export async function readObjectiveTensors(folder: string, { state }: Objective): Promise<void> {
  await readInto(
    join(folder, STATE_FILE),
    new Map(Object.entries(state?.tensors ?? {})),
    ({ engine, storage, byteOffset }, data) =>
      engine.backend.write(storage.buffer, byteOffset, data),
  );
}

/** The bytes of a tensor as they are stored. */
async function bytesOf({ engine, storage, byteOffset, byteLength }: Tensor): Promise<Uint8Array> {
  return new Uint8Array(await engine.backend.read(storage.buffer, byteOffset, byteLength));
}

function parametersOf({ modules = {} }: Objective): Map<string, Parameter> {
  return new Map(
    Object.entries(modules).flatMap(([name, module]) => [...module.namedParameters(name)]),
  );
}

type Data = Awaited<ReturnType<SafetensorsFile['read']>>['data'];

/** All of it is looked at before anything is written: nothing is left half of another. */
async function readInto<Target extends Pick<Tensor, 'shape' | 'dtype'>>(
  path: string,
  targets: ReadonlyMap<string, Target>,
  put: (target: Target, data: Data) => void,
): Promise<void> {
  if (targets.size === 0) return;
  await using file = await SafetensorsFile.open(path);
  const read: [Target, Data][] = [];
  for (const [name, target] of targets) {
    if (!file.has(name)) throw mismatch(`${path} has no "${name}", which the objective has.`);
    const { data, dtype, shape } = await file.read(name);
    if (!sameShape(shape, target.shape) || dtype !== target.dtype)
      throw mismatch(
        `${path}: "${name}" is ${dtype} ${formatShape(shape)}, and ${target.dtype} ${formatShape(target.shape)} in the objective.`,
      );
    read.push([target, data]);
  }
  for (const [target, data] of read) put(target, data);
}

const mismatch = (found: string): AttuneError =>
  new AttuneError('CHECKPOINT_MISMATCH', found, {
    remedy: 'Use the objective that the checkpoint was written with.',
  });

import type { Attrs, OpCall, Operand } from '../backend/opCall.js';
import { AttuneError } from '../util/errors.js';
import type { Engine } from './engine.js';
import { formatShape } from './shape.js';
import type { Storage } from './storage.js';
import type { Tensor } from './tensor.js';

/** What a backend is told of an op; null where there is nothing to write. @throws ENGINE_MIXED */
export function callOf(
  engine: Engine,
  op: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  attrs: Attrs,
): OpCall | null {
  let size = 0;
  for (let i = 0; i < outputs.length; i++) size += outputs[i]!.size;
  if (size === 0) return null;
  return {
    op,
    inputs: operandsOf(engine, op, inputs),
    outputs: operandsOf(engine, op, outputs),
    attrs,
  };
}

function operandsOf(engine: Engine, op: string, tensors: readonly Tensor[]): Operand[] {
  const operands: Operand[] = [];
  for (let i = 0; i < tensors.length; i++) {
    const tensor = tensors[i]!;
    if (tensor.engine !== engine)
      throw new AttuneError('ENGINE_MIXED', `${op}: an operand belongs to another Attune.`, {
        remedy: 'Read it with data() and upload it here with engine.tensor().',
      });
    operands.push(tensor.operand);
  }
  return operands;
}

/** Checks the tensors that an op writes into. @throws UPDATE_ALIASED, WEIGHT_OFFLOADED */
export function checkWritten(
  op: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
): void {
  for (let i = 0; i < outputs.length; i++) {
    const { readOnly, shape } = outputs[i]!;
    if (readOnly)
      throw new AttuneError(
        'WEIGHT_OFFLOADED',
        `${op}: a weight ${formatShape(shape)} that lies in host memory was to be written on the device, where it is a copy that is thrown away.`,
        { remedy: 'Load the model without offload to change its weights (merging included).' },
      );
  }
  for (let i = 0; i < outputs.length; i++) {
    const { storage } = outputs[i]!;
    if (isShared(storage, inputs) || isShared(storage, outputs, i + 1))
      throw new AttuneError(
        'UPDATE_ALIASED',
        `${op}: a tensor that is written shares its memory with another operand.`,
        { remedy: 'WebGPU forbids it. Copy the operand first, e.g. x.mul(1).' },
      );
  }
}

function isShared(storage: Storage, tensors: readonly Tensor[], from = 0): boolean {
  for (let i = from; i < tensors.length; i++) if (tensors[i]!.storage === storage) return true;
  return false;
}

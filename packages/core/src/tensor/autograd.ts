import type { Attrs } from '../backend/opCall.js';
import { AttuneError } from '../util/errors.js';
import { isFloat } from './dtype.js';
import type { Engine } from './engine.js';
import type { GradientPlace, OpDef } from './op.js';
import { accumulate, assign } from './ops/update.js';
import { formatShape, sameShape } from './shape.js';
import type { Tensor } from './tensor.js';

/** One recorded op: what its backward rule needs, held by views of its own. */
interface TapeNode {
  readonly def: OpDef;
  readonly attrs: Attrs;
  /** The tensors as they were given, for shapes, ids and leaves; their memory may be gone. */
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** Views that keep the memory of what the rule reads. */
  readonly saved: Map<Tensor, Tensor>;
}

/** The list of recorded ops, in order. Walked backwards once, then cleared. */
export class Tape {
  #nodes: TapeNode[] = [];

  get length(): number {
    return this.#nodes.length;
  }

  record<A extends Attrs>(
    engine: Engine,
    def: OpDef<A>,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    attrs: A,
  ): void {
    const saved = new Map<Tensor, Tensor>();
    const save = (tensor: Tensor | undefined) => {
      if (tensor && !saved.has(tensor)) saved.set(tensor, engine.keep(engine.alias(tensor)));
    };
    const inputIndices = def.saves ? (def.saves.inputs ?? []) : inputs.map((_, i) => i);
    for (const i of inputIndices) save(inputs[i]);
    for (const i of def.saves?.outputs ?? []) save(outputs[i]);
    this.#nodes.push({ def: def as unknown as OpDef, attrs, inputs, outputs, saved });
  }

  get last(): TapeNode | undefined {
    return this.#nodes.at(-1);
  }

  /** Forgets the nodes from `length` on and lets go of what they hold. */
  truncate(length: number): void {
    while (this.#nodes.length > length) release(this.#nodes.pop()!);
  }
}

function release(node: TapeNode): void {
  for (const view of node.saved.values()) view.dispose();
}

export interface BackwardOptions {
  /** The gradient that the loss starts with: 1 / items turns a sum into a mean. Default 1. */
  readonly scale?: number;
  /** A tensor whose first element multiplies it as well: a loss scale that lives on the device. */
  readonly lossScale?: Tensor | null;
}

/** Reverse-mode differentiation over the tape. See {@link Engine.backward}. */
export function backward(engine: Engine, loss: Tensor, options: BackwardOptions): void {
  if (loss.size !== 1)
    throw new AttuneError(
      'NOT_A_SCALAR',
      `backward: the loss has shape ${formatShape(loss.shape)}.`,
      {
        remedy: 'Reduce it to one number, e.g. with sum().',
      },
    );
  if (!loss.requiresGrad)
    throw new AttuneError('NO_GRADIENT', 'backward: the loss depends on no trainable parameter.', {
      remedy: 'Unfreeze a parameter or apply an adapter, and compute the loss outside of noGrad().',
    });
  engine.scope('backward', () =>
    engine.noGrad(() => {
      const grads = new Map<number, Tensor>();
      const seed = firstGradient(engine, loss, options);
      if (loss.isLeaf) addToLeaf(engine, loss, seed);
      else grads.set(loss.id, seed);
      try {
        walkBack(engine, grads, 0);
        if (grads.size > 0)
          throw new AttuneError(
            'HISTORY_GONE',
            `backward: the ops that made ${grads.size} of the tensors that the loss depends on are no longer on the tape.`,
            {
              remedy:
                'Call backward once for each forward pass, inside of the scope that recorded it; what leaves a scope must be returned from it.',
            },
          );
      } finally {
        engine.tape.truncate(0); // after an error, too
      }
    }),
  );
}

function firstGradient(engine: Engine, loss: Tensor, options: BackwardOptions): Tensor {
  const { scale = 1, lossScale } = options;
  if (!lossScale) return engine.full(loss.shape, scale);
  return engine.window(lossScale, 0, loss.shape).mul(scale);
}

/** Takes the nodes from the end of the tape down to `length` and hands gradients on to their inputs. */
function walkBack(engine: Engine, grads: Map<number, Tensor>, length: number): void {
  while (engine.tape.length > length) {
    const node = engine.tape.last!;
    const outputGrads = node.outputs.map((t) => grads.get(t.id) ?? null);
    if (outputGrads.some((g) => g !== null)) {
      for (const [input, grad] of inputGradients(engine, node, outputGrads, grads)) {
        if (input.isLeaf) addToLeaf(engine, input, grad);
        else addTo(grads, input, grad);
      }
      for (const t of node.outputs) {
        grads.get(t.id)?.dispose();
        grads.delete(t.id);
      }
    }
    engine.tape.truncate(engine.tape.length - 1);
  }
}

/**
 * fn(inputs), of which the tape keeps the inputs alone: the rest is computed again for the backward
 * pass. See {@link Engine.checkpoint}.
 */
export function checkpoint(
  engine: Engine,
  inputs: readonly Tensor[],
  fn: (inputs: readonly Tensor[]) => Tensor,
): Tensor {
  const { computeDType, dropoutDraws } = engine;
  const start = engine.tape.length;
  const output = engine.scope('checkpoint', () => {
    const made = fn(inputs);
    engine.tape.truncate(start); // recorded only to see whether something in it is trainable
    return made;
  });
  if (!output.requiresGrad || inputs.includes(output)) return output;
  const again: OpDef = {
    name: 'checkpoint',
    infer: () => [output],
    vjp: ({ inputs: held, needs, grads: [grad] }) => {
      const drawsAfter = engine.dropoutDraws;
      engine.dropoutDraws = dropoutDraws;
      // Tensors that take gradients but have no history: the walk ends at them.
      const roots = held.map((t, i) => (needs[i] ? engine.root(t) : t));
      const grads = new Map<number, Tensor>();
      const length = engine.tape.length;
      const repeated = engine.enableGrad(() =>
        engine.withCompute(computeDType, () => engine.scope('again', () => fn(roots))),
      );
      engine.dropoutDraws = drawsAfter;
      grads.set(repeated.id, engine.alias(grad!));
      walkBack(engine, grads, length);
      return roots.map((t) => grads.get(t.id) ?? null);
    },
  };
  engine.tape.record(engine, again, inputs, [output], {});
  return output;
}

/** Runs one backward rule; each gradient comes back as a tensor of its own (views are re-counted). */
function inputGradients(
  engine: Engine,
  node: TapeNode,
  outputGrads: readonly (Tensor | null)[],
  grads: ReadonlyMap<number, Tensor>,
): [Tensor, Tensor][] {
  const needs = node.inputs.map((t) => t.requiresGrad);
  const into = node.inputs.map((t) => placeOf(t, node.inputs, grads));
  const rule = node.def.vjp;
  if (!rule)
    throw new AttuneError('OP_NOT_DIFFERENTIABLE', `op "${node.def.name}" has no backward rule.`, {
      remedy: 'Give it `vjp`, or call it inside engine.noGrad().',
    });
  return engine.scope(`vjp:${node.def.name}`, () => {
    const results = rule({
      engine,
      attrs: node.attrs,
      inputs: node.inputs.map((t) => node.saved.get(t) ?? t),
      outputs: node.outputs.map((t) => node.saved.get(t) ?? t),
      grads: outputGrads,
      needs,
      into,
    });
    const out: [Tensor, Tensor][] = [];
    node.inputs.forEach((input, i) => {
      const grad = results[i];
      if (!needs[i] || !grad || !isFloat(input.dtype)) return;
      if (grad === into[i]?.tensor) {
        if (input.isLeaf) input.gradIsStale = false;
        return;
      }
      if (!sameShape(grad.shape, input.shape))
        throw new AttuneError(
          'VJP_SHAPE',
          `the backward rule of "${node.def.name}" returned ${formatShape(grad.shape)} for input ${i} of shape ${formatShape(input.shape)}.`,
          { remedy: 'A gradient has the shape of its input: sum over broadcast axes.' },
        );
      // What the rule did not make (a gradient passed on, a saved input) has another owner.
      const isOwned = grad.scope !== engine.currentScope || out.some(([, g]) => g === grad);
      out.push([input, isOwned ? engine.alias(grad) : grad]);
    });
    return out;
  });
}

/** A gradient that exists and that no one else sees. An input that stands twice gets two gradients: no place. */
function placeOf(
  input: Tensor,
  inputs: readonly Tensor[],
  grads: ReadonlyMap<number, Tensor>,
): GradientPlace | null {
  if (!input.requiresGrad || inputs.indexOf(input) !== inputs.lastIndexOf(input)) return null;
  if (input.isLeaf)
    return input.grad ? { tensor: input.grad, accumulate: !input.gradIsStale } : null;
  const held = grads.get(input.id);
  return held && held.storage.references === 1 ? { tensor: held, accumulate: true } : null;
}

function addTo(grads: Map<number, Tensor>, input: Tensor, grad: Tensor): void {
  const held = grads.get(input.id);
  if (!held) {
    grads.set(input.id, grad);
  } else if (held.storage.references === 1) {
    accumulate(held, grad);
    grad.dispose();
  } else {
    grads.set(input.id, held.add(grad));
    held.dispose();
    grad.dispose();
  }
}

function addToLeaf(engine: Engine, leaf: Tensor, grad: Tensor): void {
  if (!leaf.grad) {
    // A gradient that nobody else sees is adopted as it is; a view is copied.
    const own = grad.storage.references === 1 && grad.byteOffset === 0;
    leaf.grad = engine.keep(own ? grad : engine.empty(grad.shape));
    if (!own) assign(leaf.grad, grad);
  } else if (leaf.gradIsStale) {
    assign(leaf.grad, grad);
  } else {
    accumulate(leaf.grad, grad);
  }
  leaf.gradIsStale = false;
  if (grad !== leaf.grad) grad.dispose();
}

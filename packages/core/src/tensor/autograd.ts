import { isFloat } from '../backend/dtype.js';
import type { Attrs, BufferHandle } from '../backend/opCall.js';
import { AttuneError } from '../util/errors.js';
import type { Engine, Setting } from './engine.js';
import type { GradientPlace, OpDef } from './op.js';
import { accumulate, assign } from './ops/update.js';
import { formatShape, sameShape } from './shape.js';
import type { Tensor } from './tensor.js';

/** One recorded op: what its backward rule needs, held by views of its own. */
interface TapeNode {
  readonly def: OpDef;
  /** The backward rule: the op's, or one for this node alone. */
  readonly rule: Rule | undefined;
  readonly attrs: Attrs;
  /** The tensors as they were given, for shapes, ids and leaves; their memory may be gone. */
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** The same, but for what the rule reads: views of their own, which keep the memory. */
  readonly savedInputs: readonly Tensor[];
  readonly savedOutputs: readonly Tensor[];
  /** Those views. */
  readonly views: readonly Tensor[];
}

type Rule = NonNullable<OpDef['vjp']>;

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
    rule: Rule | undefined = def.vjp as unknown as Rule | undefined,
  ): void {
    const views: Tensor[] = [];
    const { saves } = def;
    this.#nodes.push({
      def: def as unknown as OpDef,
      rule,
      attrs,
      inputs,
      outputs,
      savedInputs: saved(engine, inputs, saves ? (saves.inputs ?? []) : inputs.keys(), views),
      savedOutputs: saved(engine, outputs, saves?.outputs ?? [], views),
      views,
    });
  }

  get last(): TapeNode | undefined {
    return this.#nodes.at(-1);
  }

  /** The memory that the tape keeps. */
  buffers(): Set<BufferHandle> {
    const buffers = new Set<BufferHandle>();
    for (const { views } of this.#nodes) for (const view of views) buffers.add(view.storage.buffer);
    return buffers;
  }

  /** How often it is kept, by anyone: a sum over the views. */
  get references(): number {
    let sum = 0;
    for (const { views } of this.#nodes)
      for (let i = 0; i < views.length; i++) sum += views[i]!.storage.references;
    return sum;
  }

  /** Forgets the nodes from `length` on and lets go of what they hold. */
  truncate(length: number): void {
    while (this.#nodes.length > length) release(this.#nodes.pop()!);
  }
}

function release({ views }: TapeNode): void {
  for (let i = 0; i < views.length; i++) views[i]!.dispose();
}

/** Tensors with views in the place of those that are kept. @param views gains them */
function saved(
  engine: Engine,
  tensors: readonly Tensor[],
  indices: Iterable<number>,
  views: Tensor[],
): readonly Tensor[] {
  const held = tensors.slice();
  for (const i of indices) {
    const tensor = tensors[i];
    if (!tensor) continue; // an optional input
    const view = engine.hold(tensor);
    held[i] = view;
    views.push(view);
  }
  return held;
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
        engine.walks.walk(loss, seed, () => {
          walkBack(engine, grads, 0);
          if (grads.size > 0) throw historyGone(grads.size);
        });
      } finally {
        engine.tape.truncate(0); // after an error, too
      }
    }),
  );
}

const historyGone = (count: number): AttuneError =>
  new AttuneError(
    'HISTORY_GONE',
    `backward: the ops that made ${count} of the tensors that the loss depends on are no longer on the tape.`,
    {
      remedy:
        'Call backward once for each forward pass, inside of the scope that recorded it; what leaves a scope must be returned from it.',
    },
  );

function firstGradient(engine: Engine, loss: Tensor, options: BackwardOptions): Tensor {
  const { scale = 1, lossScale } = options;
  if (!lossScale) return engine.full(loss.shape, scale);
  return engine.window(lossScale, 0, loss.shape).mul(scale);
}

/**
 * Takes the nodes from the end of the tape down to `length` and hands gradients on to their inputs.
 */
function walkBack(engine: Engine, grads: Map<number, Tensor>, length: number): void {
  while (engine.tape.length > length) {
    const node = engine.tape.last!;
    const outputGrads: (Tensor | null)[] = [];
    let isReached = false;
    for (const t of node.outputs) {
      const grad = grads.get(t.id) ?? null;
      outputGrads.push(grad);
      isReached ||= grad !== null;
    }
    if (isReached) {
      const inputGrads = inputGradients(engine, node, outputGrads, grads);
      for (let i = 0; i < inputGrads.length; i++) {
        const grad = inputGrads[i];
        if (!grad) continue;
        const input = node.inputs[i]!;
        if (input.isLeaf) addToLeaf(engine, input, grad);
        else addTo(grads, input, grad);
      }
      for (let i = 0; i < outputGrads.length; i++) {
        const id = node.outputs[i]!.id;
        grads.get(id)?.dispose();
        grads.delete(id);
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
  const { computeDType, dropoutDraws, settings } = engine;
  const start = engine.tape.length;
  const output = engine.walks.everything(() =>
    engine.scope('checkpoint', () => {
      const made = fn(inputs);
      engine.tape.truncate(start); // recorded only to see whether something in it is trainable
      return made;
    }),
  );
  if (!output.requiresGrad || inputs.includes(output)) return output;
  const again: Rule = ({ inputs: held, needs, grads: [grad] }) => {
    const drawsAfter = engine.dropoutDraws;
    engine.dropoutDraws = dropoutDraws;
    // Tensors that take gradients but have no history: the walk ends at them.
    const roots = held.map((t, i) => (needs[i] ? engine.root(t) : t));
    const grads = new Map<number, Tensor>();
    const length = engine.tape.length;
    const repeated = engine.enableGrad(() =>
      engine.withCompute(computeDType, () =>
        engine.scope('again', () => withSettings(settings, () => fn(roots))),
      ),
    );
    engine.dropoutDraws = drawsAfter;
    grads.set(repeated.id, engine.alias(grad!));
    walkBack(engine, grads, length);
    return roots.map((t) => grads.get(t.id) ?? null);
  };
  engine.tape.record(engine, checkpointOp, inputs, [output], {}, again);
  engine.walks.follow(true, checkpointOp, inputs, [output], {});
  return output;
}

/** Runs `fn` under settings as they were: the last one of them is the innermost. */
function withSettings<T>([first, ...rest]: readonly Setting[], fn: () => T): T {
  if (!first) return fn();
  using _ = first();
  return withSettings(rest, fn);
}

/** A node that runs its ops again. The same for all: what tells two apart are the ops in them. */
const checkpointOp: OpDef = { name: 'checkpoint', infer: (inputs) => inputs.slice(0, 1) };

/**
 * Runs one backward rule. @returns for each input its gradient, a tensor of its own (views are
 * re-counted), or null where there is none, or where it is already in its place
 */
function inputGradients(
  engine: Engine,
  node: TapeNode,
  outputGrads: readonly (Tensor | null)[],
  grads: ReadonlyMap<number, Tensor>,
): (Tensor | null)[] {
  const { def, rule, attrs, inputs } = node;
  if (!rule)
    throw new AttuneError('OP_NOT_DIFFERENTIABLE', `op "${def.name}" has no backward rule.`, {
      remedy: 'Give it `vjp`, or call it inside engine.noGrad().',
    });
  const needs: boolean[] = [];
  const into: (GradientPlace | null)[] = [];
  for (const input of inputs) {
    needs.push(input.requiresGrad);
    into.push(placeOf(input, inputs, grads));
  }
  return engine.scope(`vjp:${def.name}`, () => {
    const results = rule({
      engine,
      attrs,
      inputs: node.savedInputs,
      outputs: node.savedOutputs,
      grads: outputGrads,
      needs,
      into,
    });
    const out: (Tensor | null)[] = [];
    for (let i = 0; i < inputs.length; i++)
      out.push(ownGradient(engine, node, i, needs[i] ? results[i] : null, into[i], out));
    return out;
  });
}

/** @param before the gradients of the inputs before this one */
function ownGradient(
  engine: Engine,
  { def, inputs }: TapeNode,
  at: number,
  grad: Tensor | null | undefined,
  place: GradientPlace | null | undefined,
  before: readonly (Tensor | null)[],
): Tensor | null {
  const input = inputs[at]!;
  if (!grad || !isFloat(input.dtype)) return null;
  if (grad === place?.tensor) {
    if (input.isLeaf) {
      engine.walks.touch(input);
      input.gradIsStale = false;
    }
    return null;
  }
  if (!sameShape(grad.shape, input.shape))
    throw new AttuneError(
      'VJP_SHAPE',
      `the backward rule of "${def.name}" returned ${formatShape(grad.shape)} for input ${at} of shape ${formatShape(input.shape)}.`,
      { remedy: 'A gradient has the shape of its input: sum over broadcast axes.' },
    );
  // What the rule did not make (a gradient passed on, a saved input) has another owner.
  const isOwned = grad.scope !== engine.currentScope || before.includes(grad);
  return isOwned ? engine.alias(grad) : grad;
}

/**
 * A gradient that exists and that no one else sees. An input that stands twice gets two gradients:
 * no place.
 */
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
  engine.walks.touch(leaf);
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

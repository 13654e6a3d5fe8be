/** Numbers that ranks can add. */
export type Summable = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** What ranks can send. */
export type Sendable = Summable | Uint8Array<ArrayBuffer>;

/**
 * How the ranks of a run reach one another. A rank is one Attune on one device, in a process of its
 * own or not. All ranks run the same script, and call the same methods in the same order with
 * arrays of the same type.
 *
 * Arrays lie in host memory. WebGPU has no way from one device to another, so gradients are read
 * back, added and uploaded ({@link sumTensors}). A result has the same bits on every rank, in
 * whatever order ranks arrive. It may be the memory of the argument, which the call takes over.
 *
 * Every method rejects with COMMUNICATOR_LOST when another rank has called `abort`, or is gone.
 * `communicatorKit` of `@attune/core/testing` checks one.
 */
export interface Communicator {
  /** 0 to worldSize - 1. Rank 0 writes. */
  readonly rank: number;
  readonly worldSize: number;
  /** [n] of every rank -> [n], their sum. */
  allReduce<A extends Summable>(values: A): Promise<A>;
  /** [worldSize * n] of every rank -> [n], the rank's part of their sum. */
  reduceScatter<A extends Summable>(values: A): Promise<A>;
  /** The array of each rank, in the order of the ranks. Lengths may differ. */
  allGather<A extends Sendable>(values: A): Promise<readonly A[]>;
  /** The array of rank `root`. @param values of other ranks: null */
  broadcast<A extends Sendable>(values: A | null, root?: number): Promise<A>;
  /** Resolves when every rank has called it. */
  barrier(): Promise<void>;
  /**
   * This rank will not call any more: what others wait for rejects.
   *
   * @param reason for their messages
   */
  abort(reason: unknown): void;
}

/** The communicator of one rank: what it has is the sum, and nobody is waited for. */
export const localCommunicator: Communicator = {
  rank: 0,
  worldSize: 1,
  allReduce: async (values) => values,
  reduceScatter: async (values) => values,
  allGather: async (values) => [values],
  broadcast: async (values) => values!,
  barrier: async () => {},
  abort: () => {},
};

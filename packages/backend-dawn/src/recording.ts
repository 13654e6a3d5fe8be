import type { Attrs, BufferHandle, Recording } from '@attune/core/backend';
import type { DawnBuffer } from './bufferPool.js';
import { type Command, renumber } from './callCache.js';

/** A command as it was, with the numbers that later calls put among its words. */
interface Step {
  readonly command: Command;
  /** The attributes that they come from; null: all its words stand. */
  readonly attrs: Attrs | null;
}

/** What a recording needs of the backend that made it. */
export interface Player {
  /** Grows when what was planned may be planned in another way from now on. */
  readonly epoch: number;
  /** Whether commands may be given at once, in the way in which they were planned. */
  readonly isPlain: boolean;
  encode(command: Command): void;
  /**
   * @param bytes in use at most, beside what is in use now
   * @param buffers that are used meanwhile
   */
  noteUse(bytes: number, buffers: readonly DawnBuffer[]): void;
  noteDispatches(count: number): void;
}

/** The number of the one who has a buffer; see {@link DawnBuffer.tenant}. */
type Tenant = number;

/**
 * Dispatches as Dawn was told of them. They name memory, so it must be as it was: what was borrowed
 * meanwhile is free again, what had an owner has the same one.
 */
export class DawnRecording implements Recording {
  readonly #epoch: number;
  #steps: Step[] = [];
  #dispatches = 0;
  /** Free when the recording began. */
  readonly #borrowed = new Set<DawnBuffer>();
  /** In use when it began. */
  readonly #lasting = new Map<DawnBuffer, Tenant>();
  #peakBytes = 0;
  #isWhole = true;

  /**
   * @param known in use, and in the same role when the recording is repeated: the caller sees to it
   */
  constructor(
    private readonly player: Player,
    private readonly known: ReadonlySet<BufferHandle>,
  ) {
    this.#epoch = player.epoch;
  }

  get dispatches(): number {
    return this.#dispatches;
  }

  /** False: it cannot be repeated. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  // While it is made.

  /** Something happened that is no dispatch and would have to happen again. */
  spoil(): void {
    this.#isWhole = false;
    this.#steps = [];
  }

  take(buffer: DawnBuffer): void {
    if (!this.known.has(buffer) && !this.#lasting.has(buffer)) this.#borrowed.add(buffer);
  }

  /** @param attrs of the call */
  add(commands: readonly Command[], buffers: Iterable<BufferHandle>, attrs: Attrs): void {
    if (!this.#isWhole) return;
    this.#dispatches++;
    for (const buffer of buffers as Iterable<DawnBuffer>)
      if (!this.known.has(buffer) && !this.#borrowed.has(buffer))
        this.#lasting.set(buffer, buffer.tenant);
    for (const command of commands)
      this.#steps.push({ command, attrs: command.numbers ? { ...attrs } : null });
  }

  /** @param peakBytes in use at most while it was made, beside what was in use before */
  close(peakBytes: number): void {
    this.#peakBytes = peakBytes;
  }

  // Afterwards.

  repeat(drawsLater: number): boolean {
    const { player } = this;
    if (this.#epoch !== player.epoch) this.spoil(); // lets go of the commands
    if (!this.#isWhole || !player.isPlain || !this.#isMemoryAsItWas()) return false;
    player.noteUse(this.#peakBytes, [...this.#borrowed]);
    for (const { command, attrs } of this.#steps) {
      if (attrs) renumber(command, drawnLater(attrs, drawsLater));
      player.encode(command);
    }
    player.noteDispatches(this.#dispatches);
    return true;
  }

  #isMemoryAsItWas(): boolean {
    for (const buffer of this.#borrowed) if (buffer.tenant !== 0) return false;
    for (const [buffer, tenant] of this.#lasting) if (buffer.tenant !== tenant) return false;
    return true;
  }
}

const drawnLater = (attrs: Attrs, by: number): Attrs =>
  by !== 0 && typeof attrs.draw === 'number' ? { ...attrs, draw: attrs.draw + by } : attrs;

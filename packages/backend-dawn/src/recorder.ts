import type { BackendStats } from '@attune/core/backend';
import type { Command } from './callCache.js';

const COPY_SRC = 0x04;
const COPY_DST = 0x08;
/**
 * Uploads between two submits go through this; larger ones submit first and are written directly.
 */
export const STAGING_BYTES = 4 * 2 ** 20;

/**
 * The command encoder that is open: dispatches, uploads and copies in the order in which they come,
 * until they are submitted together.
 */
export class Recorder {
  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  /** What the open pass has set: setting it again would change nothing and cost a call. */
  #pipeline: GPUComputePipeline | null = null;
  #staging: GPUBuffer | null = null;
  #stagingUsed = 0;

  constructor(
    private readonly device: GPUDevice,
    private readonly stats: BackendStats,
  ) {}

  /** Bytes on the device that it does not have yet and will take. */
  get bytesToCome(): number {
    return this.#staging ? 0 : STAGING_BYTES;
  }

  /** @param clock timestamps of a pass of its own */
  encode({ pipeline, group, words, grid }: Command, clock?: GPUComputePassTimestampWrites): void {
    const pass = clock || !this.#pass ? this.#openPass(clock) : this.#pass;
    if (pipeline.pipeline !== this.#pipeline) {
      this.#pipeline = pipeline.pipeline!;
      pass.setPipeline(this.#pipeline);
    }
    pass.setBindGroup(0, group);
    // Newer than the types in use: a proposal that Dawn implements.
    if (words) (pass as unknown as ImmediatesEncoder).setImmediates(0, words);
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
  }

  /**
   * queue.writeBuffer runs before everything that is recorded but not submitted, so once something
   * is recorded the bytes take a detour through a staging buffer and a copy inside the encoder.
   */
  upload(target: GPUBuffer, byteOffset: number, bytes: Uint8Array<ArrayBuffer>): void {
    const { byteLength } = bytes;
    if (this.#encoder && byteLength + this.#stagingUsed > STAGING_BYTES) this.submit();
    if (!this.#encoder) {
      this.device.queue.writeBuffer(target, byteOffset, bytes);
      return;
    }
    this.#staging ??= this.#createStaging();
    this.device.queue.writeBuffer(this.#staging, this.#stagingUsed, bytes);
    this.#copy([this.#staging, this.#stagingUsed], [target, byteOffset], byteLength);
    this.#stagingUsed += byteLength;
  }

  /** Copies to the begin of `target`, and submits. */
  download(source: GPUBuffer, byteOffset: number, target: GPUBuffer, byteLength: number): void {
    this.#copy([source, byteOffset], [target, 0], byteLength);
    this.submit();
  }

  submit(): void {
    if (!this.#encoder) return;
    this.#endPass();
    this.device.queue.submit([this.#encoder.finish()]);
    this.#encoder = null;
    this.#stagingUsed = 0;
    this.stats.submits++;
  }

  /** Forgets what was not submitted. */
  discard(): void {
    this.#endPass();
    this.#encoder = null;
    this.#stagingUsed = 0;
  }

  destroy(): void {
    this.#staging?.destroy();
  }

  #copy(
    [source, from]: readonly [GPUBuffer, number],
    [target, to]: readonly [GPUBuffer, number],
    byteLength: number,
  ): void {
    this.#endPass();
    this.#openEncoder().copyBufferToBuffer(source, from, target, to, byteLength);
  }

  #createStaging(): GPUBuffer {
    this.stats.buffersCreated++;
    this.stats.reservedBytes += STAGING_BYTES;
    return this.device.createBuffer({ size: STAGING_BYTES, usage: COPY_SRC | COPY_DST });
  }

  #openEncoder(): GPUCommandEncoder {
    this.#encoder ??= this.device.createCommandEncoder();
    return this.#encoder;
  }

  #openPass(clock: GPUComputePassTimestampWrites | undefined): GPUComputePassEncoder {
    if (clock) {
      this.#endPass();
      this.#pass = this.#openEncoder().beginComputePass({ timestampWrites: clock });
    }
    this.#pass ??= this.#openEncoder().beginComputePass();
    return this.#pass;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = null;
    this.#pipeline = null;
  }
}

interface ImmediatesEncoder {
  setImmediates(offset: number, data: ArrayBuffer): void;
}

import { AttuneError } from '@attune/core';
import { type BackendStats, sizeClass } from '@attune/core/backend';
import type { Deferral } from './deferral.js';
import type { DeviceHealth } from './errors.js';
import type { Recorder } from './recorder.js';
import type { Waiter } from './waiter.js';

const MAP_READ = 0x01;
const COPY_DST = 0x08;
/** A larger buffer is destroyed after use: host memory should not stay at its peak. */
const KEPT_BYTES = 16 * 2 ** 20;

interface Wait {
  readonly recorder: Recorder;
  readonly deferral: Deferral;
  readonly waiter: Waiter;
  readonly health: DeviceHealth;
}

/**
 * The only way out of the device: copies into mappable buffers, which are kept for the next read.
 */
export class Readback {
  #idle: GPUBuffer[] = [];

  constructor(
    private readonly device: GPUDevice,
    private readonly stats: BackendStats,
    private readonly parts: Wait,
  ) {}

  /**
   * Submits what is recorded, waits, copies.
   *
   * @throws READ_FAILED, and what went wrong on the device
   */
  async read(source: GPUBuffer, byteOffset: number, byteLength: number): Promise<ArrayBuffer> {
    const { recorder, deferral, waiter, health } = this.parts;
    const size = Math.ceil(byteLength / 4) * 4;
    const target = this.#take(size);
    const download = () => recorder.download(source, byteOffset, target, size);
    if (deferral.isActive) deferral.add(download);
    else download();
    this.stats.readbacks++;
    try {
      await deferral.settle();
      health.check();
      await waiter.wait(target.mapAsync(1, 0, size));
      health.check();
    } catch (cause) {
      this.#discard(target);
      health.check();
      throw new AttuneError('READ_FAILED', 'reading from the device failed.', {
        remedy: 'Start again; a training run resumes from its last checkpoint.',
        cause,
      });
    }
    const bytes = target.getMappedRange(0, size).slice(0, byteLength);
    target.unmap();
    if (target.size <= KEPT_BYTES) this.#idle.push(target);
    else this.#discard(target);
    return bytes;
  }

  destroy(): void {
    for (const buffer of this.#idle) buffer.destroy();
    this.#idle = [];
  }

  /** A buffer that nobody waits for. */
  #take(byteLength: number): GPUBuffer {
    const at = this.#idle.findIndex(
      ({ size }) => size >= byteLength && size <= 8 * byteLength + 4096,
    );
    if (at >= 0) return this.#idle.splice(at, 1)[0]!;
    const capacity = sizeClass(byteLength); // so that reads of slowly growing length share buffers
    this.stats.buffersCreated++;
    this.stats.reservedBytes += capacity;
    return this.device.createBuffer({ size: capacity, usage: MAP_READ | COPY_DST });
  }

  #discard(buffer: GPUBuffer): void {
    this.stats.reservedBytes -= buffer.size;
    buffer.destroy();
  }
}

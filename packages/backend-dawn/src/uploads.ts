import type { HostArray } from '@attune/core/backend';
import type { Deferral } from './deferral.js';
import { type Recorder, STAGING_BYTES } from './recorder.js';

/** Uploads too large for the staging buffer wait while so many bytes of them are on their way. */
const WINDOW_BYTES = 64 * 2 ** 20;

/** Copies from the host, in their place among the commands. */
export class Uploads {
  /** Bytes of large uploads since the device was last known to be done with them. */
  #onTheirWay = 0;

  constructor(
    private readonly queue: GPUQueue,
    private readonly recorder: Recorder,
    private readonly deferral: Deferral,
  ) {}

  /** @param lasting the array never changes; else the caller may reuse it at once */
  write(target: GPUBuffer, byteOffset: number, data: HostArray, lasting: boolean): void {
    if (data.byteLength > STAGING_BYTES) this.#admit(data.byteLength);
    const bytes = wholeWords(data);
    if (this.deferral.isActive) {
      const copy = lasting ? bytes : bytes.slice();
      this.deferral.add(() => this.recorder.upload(target, byteOffset, copy));
    } else {
      this.recorder.upload(target, byteOffset, bytes);
    }
  }

  /**
   * Recording runs ahead of the device, and Dawn copies what is uploaded into memory of its own: a
   * model that streams from host memory would be there as a whole. So commands wait their turn.
   */
  #admit(byteLength: number): void {
    this.#onTheirWay += byteLength;
    if (this.#onTheirWay <= WINDOW_BYTES) return;
    this.#onTheirWay = byteLength;
    this.deferral.add(
      () => {},
      () => {
        this.recorder.submit();
        return this.queue.onSubmittedWorkDone();
      },
    );
  }
}

/** WebGPU writes whole words: an odd number of 16-bit values is padded. */
function wholeWords(data: HostArray): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = data;
  if (byteLength % 4 === 0) return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
  const padded = new Uint8Array(Math.ceil(byteLength / 4) * 4);
  padded.set(new Uint8Array(buffer, byteOffset, byteLength));
  return padded;
}

import { AttuneError } from '@attune/core';
import type { BackendStats } from '@attune/core/backend';

/**
 * What the device says about commands after they were given, and whether it is there at all. The
 * first thing that went wrong is kept: every later wait rejects with it.
 */
export class DeviceHealth {
  #failure: AttuneError | null = null;
  #closed = false;

  /** @param onFailure called when something went wrong: what was recorded has no use */
  constructor(
    private readonly device: GPUDevice,
    private readonly stats: BackendStats,
    private readonly onFailure: () => void,
  ) {
    device.addEventListener('uncapturederror', this.#uncaptured);
    void device.lost.then((info) => {
      if (this.#closed) return;
      this.#fail(
        new AttuneError(
          'DEVICE_LOST',
          `the GPU device was lost (${info.reason}): ${info.message}`,
          { remedy: 'Start again; a training run resumes from its last checkpoint.' },
        ),
      );
    });
  }

  /** Whether memory was what was missing, and nothing else went wrong before. */
  get isOutOfMemory(): boolean {
    return this.#failure?.code === 'OUT_OF_MEMORY';
  }

  get hasFailed(): boolean {
    return this.#failure !== null;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** @throws what went wrong first; BACKEND_DISPOSED */
  check(): void {
    if (this.#failure) throw this.#failure;
    if (this.#closed)
      throw new AttuneError('BACKEND_DISPOSED', 'the backend was disposed.', {
        remedy: 'Keep the Attune open (await using) as long as its tensors are used.',
      });
  }

  /** A shader or a command that Dawn would not have. */
  readonly refused = (error: Error): void => this.#fail(refusal(error.message));

  /** What a check found. */
  readonly found = (error: AttuneError): void => this.#fail(error);

  /** Goes on as if nothing had gone wrong. */
  forgive(): void {
    this.#failure = null;
  }

  /** What the device says from now on is of no interest. */
  close(): void {
    this.#closed = true;
  }

  /** The last step of closing: until then the device may say something. */
  stopListening(): void {
    this.device.removeEventListener('uncapturederror', this.#uncaptured);
  }

  readonly #uncaptured = (event: Event): void => {
    const { error } = event as GPUUncapturedErrorEvent;
    this.#fail(deviceError(error, this.stats.reservedBytes));
  };

  #fail(error: AttuneError): void {
    this.#failure ??= error;
    this.onFailure();
  }
}

function deviceError(error: GPUError, reservedBytes: number): AttuneError {
  if (error.constructor.name === 'GPUOutOfMemoryError')
    return new AttuneError(
      'OUT_OF_MEMORY',
      `the device has no memory left; ${reservedBytes} bytes were asked for in all: ${error.message}`,
      {
        remedy:
          'Use a smaller perDeviceTrainBatchSize with more gradientAccumulationSteps, a shorter maxLength, or a 16-bit dtype.',
      },
    );
  return refusal(error.message);
}

const refusal = (message: string): AttuneError =>
  new AttuneError('GPU_ERROR', `the device refused a command: ${message}`, {
    remedy: 'This is a defect of a kernel: please report it with the message above.',
  });

/**
 * Errors that the peers' devices report. A refused command is skipped, which looks very fast; so a
 * peer with an error has no time.
 */
class Faults {
  #message: string | null = null;

  /**
   * Listens on every device that the peers' Dawn makes.
   *
   * @param globals of its package, which is there where peers are
   */
  install(globals: object): void {
    const { prototype } = (globals as DawnClasses).GPUAdapter;
    const { requestDevice } = prototype;
    const note = (message: string) => {
      this.#message ??= message;
    };
    prototype.requestDevice = async function (this: GPUAdapter, descriptor?: GPUDeviceDescriptor) {
      const device = await requestDevice.call(this, descriptor);
      device.addEventListener('uncapturederror', (event) =>
        note((event as GPUUncapturedErrorEvent).error.message),
      );
      return device;
    };
  }

  /** @throws with the first error since the last call */
  check(): void {
    const message = this.#message;
    this.#message = null;
    if (message !== null) throw new Error(`its device reports: ${message}`);
  }
}

interface DawnClasses {
  readonly GPUAdapter: { readonly prototype: GPUAdapter };
}

export const faults = new Faults();

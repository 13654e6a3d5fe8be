import type { OpCall } from '../backend/opCall.js';
import { ReferenceBackend } from '../backend/reference/referenceBackend.js';

/**
 * The reference backend, rounding every result to float32 as a device does: what is saved is all
 * there is, so that "bit for bit" means something.
 */
export class Float32Backend extends ReferenceBackend {
  override dispatch(call: OpCall): void {
    super.dispatch(call);
    for (const out of call.outputs)
      if (out.dtype === 'float32') this.poke(out, new Float32Array(this.peek(out)));
  }
}

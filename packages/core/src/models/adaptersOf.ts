import type { Attune } from '../attune.js';
import { TOKENS } from '../di/tokens.js';
import { AttuneError } from '../util/errors.js';
import type { AdapterService } from './adapterHost.js';

/**
 * The adapters that a plugin of an Attune brings.
 *
 * @param wanted what needs them, as the error says it: "a peftConfig was given"
 * @throws PEFT_MISSING where no plugin brings any
 */
export function adaptersOf(attune: Attune, wanted: string): AdapterService {
  const service = attune.service(TOKENS.AdapterService);
  if (service) return service;
  throw new AttuneError('PEFT_MISSING', `${wanted}, but no plugin adds adapters.`, {
    remedy:
      'npm install @attune/peft, then createAttune({ plugins: [peft(), ...] }) with `import { peft } from "@attune/peft"`.',
  });
}

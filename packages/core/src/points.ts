import type { BackendFactory } from './backend/backend.js';
import { type ExtensionPoint, extensionPoint } from './di/extensionPoint.js';

/** Devices to compute on. `@attune/backend-dawn` adds one; "reference" is built in. */
export const Backends: ExtensionPoint<BackendFactory> = extensionPoint('backend', (b) => b.name);

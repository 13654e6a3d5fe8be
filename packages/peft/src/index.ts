export {
  type AdapterContext,
  type ConfigSchema,
  definePeftMethod,
  type Init,
  type LayerInfo,
  type MethodConfig,
  type ParamSpec,
  type ParamSpecs,
  type PeftMethod,
  type PeftMethodDefinition,
} from './definePeftMethod.js';
export { lora } from './methods/lora.js';

export { type PeftCheck, type PeftKitOptions, peftMethodKit } from './peftMethodKit.js';

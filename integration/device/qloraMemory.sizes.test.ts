import { test } from 'vitest';
import { checkQlora } from './qloraMemoryOn.js';

test('QLoRA of 100 M parameters: planned as measured, a third of the weights of LoRA', () =>
  checkQlora({ layers: 14, vocabulary: 4096, parameters: 100e6 }));

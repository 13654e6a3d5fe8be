import { test } from 'vitest';
import { checkQlora } from './qloraMemoryOn.js';

test('QLoRA of 20 M parameters: planned as measured, a third of the weights of LoRA', () =>
  checkQlora({ layers: 3, vocabulary: 512, parameters: 20e6 }));

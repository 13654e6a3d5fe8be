import { test } from 'vitest';
import { followLoraRun, variants } from './loraRunOn.js';

test.each(variants)('the trace of %s, whole', (name) => followLoraRun(name));

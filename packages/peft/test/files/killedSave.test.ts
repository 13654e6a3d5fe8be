import { copied, killedSaveTests } from './killedSaveOn.js';

// What a death leaves, seen by a process that lives; killedSave.sizes.test.ts kills one for each.
killedSaveTests(copied);

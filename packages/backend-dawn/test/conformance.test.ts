import { conformanceTests } from './conformanceOn.js';
import { KernelPaths } from './kernelPaths.js';

// One case for each path through a kernel; conformance.sizes.test.ts runs all cases.
conformanceTests((cases, facts) => new KernelPaths().choose(cases, facts));

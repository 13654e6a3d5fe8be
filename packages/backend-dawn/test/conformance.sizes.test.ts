import { conformanceTests } from './conformanceOn.js';

conformanceTests((cases) => cases);

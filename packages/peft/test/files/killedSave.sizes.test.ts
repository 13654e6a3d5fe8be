import { killed, killedSaveTests } from './killedSaveOn.js';

killedSaveTests(killed);

import { describeValue } from './describeValue.js';
import { AttuneError } from './errors.js';

/** @throws SAVE_FOLDER for what is no path */
export function requireFolder(folder: unknown, where: string): void {
  if (typeof folder === 'string' && folder !== '') return;
  throw new AttuneError(
    'SAVE_FOLDER',
    `${where}: expected the folder to write to, found ${describeValue(folder)}.`,
    { remedy: `Pass a path: ${where}('out/final').` },
  );
}

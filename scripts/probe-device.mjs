// Prints which device the Dawn backend would take, as one line of JSON. For setup.mjs.
import { chooseAdapter } from '../packages/backend-dawn/dist/index.js';

try {
  const { kind, description, reason } = await chooseAdapter();
  console.log(JSON.stringify({ kind, description, reason }));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

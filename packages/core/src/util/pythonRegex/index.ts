export { type PythonMatch, PythonPattern } from './pattern.js';

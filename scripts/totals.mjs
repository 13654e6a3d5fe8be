#!/usr/bin/env node
// Sums vitest's JSON reports into the closing line of .ci/run:
//   node scripts/totals.mjs REPORT:EXIT_CODE ...
// Prints the slowest tests, then "N passed, N failed[, N skipped]". Exits 1 unless tests ran and all
// of them passed.
import { existsSync, readFileSync } from 'node:fs';
import { basename, relative } from 'node:path';

let [passed, failed, skipped] = [0, 0, 0];
const tests = [];
for (const argument of process.argv.slice(2)) {
  const [file, code] = argument.split(':');
  if (!existsSync(file)) {
    console.log(`${file}: the test run left no report (exit code ${code})`);
    failed += 1;
    continue;
  }
  const report = JSON.parse(readFileSync(file, 'utf8'));
  // A file that could not be loaded, or whose hooks threw, fails without any failed test.
  const broken = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  );
  for (const { name } of broken) console.log(`failed outside of its tests: ${relative('.', name)}`);
  let failures = report.numFailedTests + broken.length;
  if (code !== '0' && !failures) {
    console.log(`${file}: every test passed, but vitest ended with ${code} (an unhandled error?)`);
    failures = 1;
  }
  passed += report.numPassedTests;
  failed += failures;
  skipped += report.numPendingTests + report.numTodoTests;
  for (const { name, assertionResults } of report.testResults)
    for (const test of assertionResults)
      tests.push([
        test.duration ?? 0,
        `${basename(file, '.json')}: ${relative('.', name)} > ${test.fullName}`,
      ]);
}

console.log('slowest tests:');
for (const [duration, name] of tests.sort((a, b) => b[0] - a[0]).slice(0, 10))
  console.log(`${(duration / 1000).toFixed(1).padStart(7)} s  ${name}`);
console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`);
process.exit(failed || !passed ? 1 : 0);

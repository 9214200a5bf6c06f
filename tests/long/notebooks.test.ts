/**
 * The walkthrough and the notebooks that train for minutes, executed; the others, and the rules for all of them, are
 * tests/notebooks.test.ts.
 */
import { isLong, paths, testExecution } from '../execution';

testExecution(paths.filter(isLong));

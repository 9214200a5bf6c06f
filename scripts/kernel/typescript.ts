/** tslab's TypeScript with functions that can be replaced, in the place of the one that cannot; to be imported before tslab. */
import ts from '@tslab/typescript-for-tslab';

/** What is replaced on it counts for all of tslab. */
export const mendable = { ...ts };

require.cache[require.resolve('@tslab/typescript-for-tslab')]!.exports = mendable;

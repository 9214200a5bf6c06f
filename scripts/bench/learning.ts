/**
 * The settings of every DPO step that bench.ts times. Weights decay by lr times 0.1, which is large enough for float32.
 */
export const LEARNING = { lr: 1e-6, weightDecay: 0.1, schedule: 'constant' } as const;

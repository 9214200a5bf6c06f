/** The settings of every DPO step that bench.ts times: weights decay by lr times 0.1, of which float32 takes notice. */
export const LEARNING = { lr: 1e-6, weightDecay: 0.1, schedule: 'constant' } as const;

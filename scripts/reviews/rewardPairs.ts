import type { Sample } from './samples';

export interface RewardPair<S> {
  readonly chosen: S;
  readonly rejected: S;
}

/**
 * The preference pairs of the DPO paper's controlled sentiment (arXiv 2305.18290, section 6 and appendix C.1): of each
 * prompt's samples every two, the better rewarded one chosen. Two that are worth the same say nothing and are left out.
 *
 * @param each samples a prompt, which come one after another.
 */
export function rewardPairs<S extends Pick<Sample, 'reward'>>(samples: readonly S[], each: number): RewardPair<S>[] {
  const pairs: RewardPair<S>[] = [];
  for (let start = 0; start < samples.length; start += each) {
    const group = samples.slice(start, start + each);
    group.forEach((one, n) => {
      for (const other of group.slice(n + 1)) {
        if (one.reward > other.reward) pairs.push({ chosen: one, rejected: other });
        if (one.reward < other.reward) pairs.push({ chosen: other, rejected: one });
      }
    });
  }
  return pairs;
}

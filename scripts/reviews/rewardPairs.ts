import type { Sample } from './samples';

export interface RewardPair<S> {
  readonly chosen: S;
  readonly rejected: S;
}

/**
 * The preference pairs of the DPO paper's controlled sentiment task (arXiv 2305.18290, section 6 and appendix C.1):
 * every two samples of a prompt make a pair, in which the one with the higher reward is chosen. Two samples with equal
 * rewards are left out, because they express no preference.
 *
 * @param each the number of samples for each prompt; the samples of a prompt follow one another.
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

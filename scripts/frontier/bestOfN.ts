/** Best-of-n of the SFT model: no training. */
import { bestOfN, bestOfNKl } from 'alignbook';

import { estimate } from '../estimate';
import { samples } from '../reviews/samples';
import type { Method, Scale } from './method';

export function bestOf(scale: Scale): Method {
  const constants = scale === 'quick' ? { each: 4, ns: [1, 2, 4] } : { each: 16, ns: [1, 2, 4, 8, 16] };
  return {
    name: 'best-of-n',
    settings: [{}],
    constants,
    async *run({ reference, tokenizer, heldOut, reward, onProgress }, _, seed) {
      const { each, ns } = constants;
      const drawn = await samples(reference, tokenizer, heldOut, {
        reward,
        each,
        seed,
        onProgress: (done) => onProgress(done / (each * heldOut.length)),
      });
      const scores = heldOut.map((_prompt, n) => drawn.slice(n * each, (n + 1) * each).map((sample) => sample.reward));
      for (const n of ns) {
        const { mean, standardError } = estimate(scores.map((some) => bestOfN(some, n)));
        yield { step: n, kl: bestOfNKl(n), klStandardError: 0, reward: mean, rewardStandardError: standardError };
      }
    },
  };
}

import { test } from 'node:test';

import {
  lengthDesensitizedLogps,
  logSumSquaredProbs,
  preferenceLosses,
  tf,
  withoutReference,
  wpoWeights,
  type PreferenceLossName,
  type ResponseTokens,
} from 'alignbook';

import { cases, close, keepsNothing, refused, type Case } from './lossCases';

const mask2d = (values: number[][]) => tf.tensor2d(values, undefined, 'int32');
const FILE = 'preferenceLosses.json';

/** The fixtures list the chosen responses first, then the rejected ones. */
function halves(tensor: tf.Tensor): [chosen: tf.Tensor2D, rejected: tf.Tensor2D] {
  return tf.split(tensor, 2) as [tf.Tensor2D, tf.Tensor2D];
}

function tokensOf(perTokenLogps: tf.Tensor, c: Case): { chosen: ResponseTokens; rejected: ResponseTokens } {
  const [[chosen, rejected], [chosenMask, rejectedMask]] = [halves(perTokenLogps), halves(c.ints('mask'))];
  return {
    chosen: { perTokenLogps: chosen, responseMask: chosenMask },
    rejected: { perTokenLogps: rejected, responseMask: rejectedMask },
  };
}

test('on length-desensitized log-probs, DPO and its gradient per token are those of TRL', () => {
  for (const c of cases('length_desensitised', FILE)) {
    const options = { ldAlpha: c.number('ldAlpha') };
    const reference = lengthDesensitizedLogps(tokensOf(c.floats('refPerTokenLogps'), c), options);
    const loss = (perTokenLogps: tf.Tensor) => {
      const policy = lengthDesensitizedLogps(tokensOf(perTokenLogps, c), options);
      return preferenceLosses.sigmoid({
        policyChosenLogps: policy.chosenLogps,
        policyRejectedLogps: policy.rejectedLogps,
        refChosenLogps: reference.chosenLogps,
        refRejectedLogps: reference.rejectedLogps,
      });
    };
    c.check(loss(c.floats('perTokenLogps')), 'losses');
    c.checkGradient(tf.grad((x) => loss(x).sum())(c.floats('perTokenLogps')), 'grad');
  }
});

test('length-desensitized log-probs by hand', () => {
  const chosen = { perTokenLogps: tf.tensor2d([[NaN, -1, -2, -4, -8]]), responseMask: mask2d([[0, 1, 1, 1, 1]]) };
  const rejected = { perTokenLogps: tf.tensor2d([[-3, -5, Infinity]]), responseMask: mask2d([[1, 1, 0]]) };
  const { chosenLogps, rejectedLogps } = lengthDesensitizedLogps({ chosen, rejected }, { ldAlpha: 0.5 });
  close(chosenLogps, [-1 - 2 - 0.5 * (4 + 8)], 'the longer');
  close(rejectedLogps, [-8], 'the shorter');
});

test("weighted by the policy's own probabilities, losses and gradients per token are those of TRL", () => {
  for (const c of cases('weighted_by_policy', FILE)) {
    const loss = (perTokenLogps: tf.Tensor) => {
      const { chosen, rejected } = tokensOf(perTokenLogps, c);
      const [chosenSquares, rejectedSquares] = halves(c.floats('logSumSquaredProbs'));
      const sum = ({ perTokenLogps, responseMask }: ResponseTokens) =>
        tf.mul(perTokenLogps, responseMask).sum<tf.Tensor1D>(1);
      return preferenceLosses[c.text('loss') as PreferenceLossName]({
        policyChosenLogps: sum(chosen),
        policyRejectedLogps: sum(rejected),
        refChosenLogps: c.floats('refChosenLogps'),
        refRejectedLogps: c.floats('refRejectedLogps'),
        chosenLengths: chosen.responseMask.sum(1),
        rejectedLengths: rejected.responseMask.sum(1),
        pairWeights: tf.mul(
          wpoWeights({ ...chosen, logSumSquaredProbs: chosenSquares }),
          wpoWeights({ ...rejected, logSumSquaredProbs: rejectedSquares }),
        ),
      });
    };
    c.check(loss(c.floats('perTokenLogps')), 'losses');
    c.checkGradient(tf.grad((x) => loss(x).sum())(c.floats('perTokenLogps')), 'grad');
  }
});

test('logSumSquaredProbs equals PyTorch, between -ln V and 0', () => {
  for (const c of cases('squared_probs', FILE)) c.check(logSumSquaredProbs(c.floats('logits')), 'logSumSquaredProbs');
  close(logSumSquaredProbs(tf.zeros([2, 5])), [-Math.log(5), -Math.log(5)], 'uniform');
  close(logSumSquaredProbs(tf.tensor1d([0, 1e4, 0])), 0, 'certain');
});

test('a response of average tokens has weight 1; positions outside the mask are ignored', () => {
  const [perTokenLogps, logSumSquaredProbs] = [tf.tensor2d([[-2, -1, NaN]]), tf.tensor2d([[-1, -2, -Infinity]])];
  const tokens = { perTokenLogps, logSumSquaredProbs, responseMask: mask2d([[1, 1, 0]]) };
  close(wpoWeights(tokens), [1], 'weight');
  close(wpoWeights({ ...tokens, responseMask: mask2d([[1, 0, 0]]) }), [Math.exp(-1)], 'weight');
});

test('inputs that do not fit are refused', () => {
  const two = { perTokenLogps: tf.zeros<tf.Rank.R2>([2, 3]), responseMask: tf.onesLike(tf.zeros<tf.Rank.R2>([2, 3])) };
  const one = { perTokenLogps: tf.zeros<tf.Rank.R2>([1, 3]), responseMask: mask2d([[0, 0, 0]]) };
  const pairs = { chosen: two, rejected: two };
  for (const ldAlpha of [-0.1, 1.1, NaN])
    refused(() => lengthDesensitizedLogps(pairs, { ldAlpha }), /ldAlpha must be in \[0, 1\], got/);
  refused(() => lengthDesensitizedLogps({ chosen: two, rejected: one }, { ldAlpha: 0 }), /row 0 has no response token/);
  const row = { ...one, responseMask: mask2d([[1, 0, 0]]) };
  refused(
    () => lengthDesensitizedLogps({ chosen: two, rejected: row }, { ldAlpha: 0 }),
    /chosen has 2 rows, rejected 1/,
  );
  refused(() => wpoWeights({ ...two, logSumSquaredProbs: tf.zeros([2, 4]) }), /logSumSquaredProbs has shape \[2,4\]/);
});

test('no tensor stays behind', () => {
  const tokens = {
    perTokenLogps: tf.zeros<tf.Rank.R2>([2, 3]),
    responseMask: mask2d([
      [1, 1, 0],
      [1, 1, 1],
    ]),
  };
  const squares = tf.zeros<tf.Rank.R2>([2, 3]);
  const desensitized = () => lengthDesensitizedLogps({ chosen: tokens, rejected: tokens }, { ldAlpha: 0.5 });
  keepsNothing(desensitized);
  keepsNothing(() => wpoWeights({ ...tokens, logSumSquaredProbs: squares }));
  keepsNothing(() => logSumSquaredProbs(squares));
  const logps = tf.tensor1d([-1, -2]);
  keepsNothing(() => {
    const { refChosenLogps, refRejectedLogps } = withoutReference({
      policyChosenLogps: logps,
      policyRejectedLogps: logps,
    });
    return [refChosenLogps!, refRejectedLogps!];
  });
});

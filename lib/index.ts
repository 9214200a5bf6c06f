/** The public surface, in the order in which data flows. */
import './notebook/inspection';

export { FileError, HubError, InputError, SetupError } from './errors';
export { computePolicy, device, liveTensors, tf, type ComputePolicy, type Device } from './tf';
export { Random, type RandomState } from './random';
export { profile, profileTable, type OpTime, type Profile } from './engine/profile';

export { progressPrinter, type DownloadProgress, type OnProgress } from './hub/progress';
export { type DownloadOptions } from './hub/repository';

export { Tokenizer } from './text/tokenizer';
export { alpacaPrompt, chatPrompt, type ChatMessage } from './text/templates';
export { appendEos, encodePair, preferenceBatch, responseStart, type PaddedRows, type PairIds } from './text/batch';
export { type Truncation } from './text/truncation';
export {
  readCandidates,
  readLabeled,
  readPairs,
  readPrompts,
  readResponses,
  type LabeledResponse,
  type ReadOptions,
} from './text/dataset';
export { dataReport, type DataReport } from './text/dataReport';
export { responseBatch, type Layout, type PromptResponses, type ResponseBatch } from './text/responseBatch';

export { configJson, readConfig, type GPT2Config } from './formats/config';
export { downloadModel } from './model/folder';
export { SafetensorsFile, type DType, type TensorEntry } from './formats/safetensors';
export { writeSafetensors, type FloatDType, type NamedTensor } from './formats/safetensorsWriter';
export { type Variables } from './engine/variables';
export { initialWeights, weightShapes } from './model/weightShapes';
export { Weights, type Trainable } from './model/weights';
export { Gradients } from './engine/gradients';
export { differentiate, ForwardPass, type LossGradient } from './model/forwardPass';
export { type HeadOptions, type TokenStatistics } from './model/heads';
export { GPT2, type ForwardOptions, type LoadOptions, type Measured } from './model/gpt2';
export { withValueHead } from './model/valueHead';
export { RewardForwardPass, RewardModel } from './model/rewardModel';
export { loadAdapter, lora, merged, type LoraOptions, type LoraTarget } from './model/lora';
export { exportAdapter } from './model/exportAdapter';
export { exportModel, type ExportOptions } from './model/export';
export {
  scoreNormalization,
  scorePairs,
  scoreResponses,
  type PairScore,
  type ResponseScore,
  type ScoringOptions,
} from './model/score';
export { distribution, nextToken, type Sampling } from './model/sampling';
export { generate, type Generated, type GenerateOptions } from './model/generate';

export { maskedMean, maskedVariance, stopGradient, whiten } from './losses/mask';
export { logps, meanLogps, perTokenLogps } from './losses/logps';
export type { Divergence, PreferenceInputs, PreferenceLoss, PreferenceOptions } from './losses/preferenceInputs';
export type { PairLogps } from './losses/logRatios';
export {
  dpoLoss,
  preferenceLosses,
  type DpoLoss,
  type DpoOptions,
  type PreferenceLossName,
} from './losses/preferenceLosses';
export {
  lengthDesensitizedLogps,
  logSumSquaredProbs,
  weightedLosses,
  withoutReference,
  wpoWeights,
  type LossTerm,
  type ResponseTokens,
} from './losses/modifiers';
export { ktoLoss, type KtoInputs, type KtoLoss, type KtoOptions } from './losses/kto';
export {
  gae,
  groupAdvantages,
  klK1,
  klK2,
  klK3,
  tokenRewards,
  type Advantages,
  type GroupAdvantageOptions,
} from './losses/advantages';
export { clippedSurrogate, entropy, ppoLoss, valueLoss, type PpoLoss } from './losses/ppo';
export {
  grpoLoss,
  rlooLoss,
  type GrpoLoss,
  type GrpoLossType,
  type GrpoOptions,
  type RatioLevel,
  type GrpoTensors,
} from './losses/grpo';
export { rewardLoss, type RewardLossOptions } from './losses/reward';

export { AdamW, type AdamWOptions } from './training/optimizer';
export { learningRate, type ScheduleOptions } from './training/schedule';
export { batchOrder, type Duration, type OrderOptions } from './training/order';
export { checkpointFolder, checkpoints, pruneCheckpoints } from './training/checkpointFolders';
export { loadWeights, saveWeights, TrainingState } from './training/state';
export { Best, type BestOptions } from './training/best';
export { tensorBoard } from './training/eventFiles';
export { type TokenMetrics } from './training/metrics';
export { type TrainOptions } from './training/options';
export { trainingMemory, type MemoryOptions, type TrainingMemory, type TrainingShape } from './training/memory';
export { type SftTrainOptions } from './training/sftOptions';
export { evaluateSft, trainSft, type SftMetrics, type SftStep } from './training/trainSft';
export { keptReferenceLogps, referenceLogps, type ReferenceOptions, type RefLogps } from './training/reference';
export { type DpoTrainOptions } from './training/dpoOptions';
export { type KtoTrainOptions } from './training/ktoOptions';
export {
  evaluateDpo,
  trainDpo,
  type DpoInputs,
  type DpoLossOptions,
  type DpoMetrics,
  type DpoStep,
} from './training/trainDpo';
export {
  evaluateKto,
  trainKto,
  type KtoInputs as KtoTrainInputs,
  type KtoMetrics,
  type KtoStep,
} from './training/trainKto';
export { calibration, type Calibration, type ReliabilityBin } from './training/calibration';
export {
  evaluateReward,
  trainReward,
  type RewardEvaluation,
  type RewardMetrics,
  type RewardStep,
} from './training/trainReward';
export { type RewardTrainOptions } from './training/rewardOptions';
export {
  measureSamples,
  sampleLogps,
  sampleResponses,
  sequenceKl,
  type PerToken,
  type Sample,
  type SampleOptions,
} from './training/rollout';
export {
  answerLength,
  evaluateAnswers,
  exactMatch,
  regexMatch,
  withAnswerMetrics,
  type AnswerEvaluation,
  type AnswerMetric,
  type HeldOutRow,
  type HeldOutSample,
} from './training/answerMetrics';
export { withSamples, type Answer, type AnswerInputs, type ComparedAnswer } from './training/answers';
export {
  rewardOf,
  scoreSamples,
  weightedRewards,
  type Penalties,
  type Reward,
  type RewardTerm,
} from './training/rewards';
export {
  answerKl,
  evaluatePairs,
  type AnswerKl,
  type EvaluationOptions,
  type PairEvaluation,
} from './training/pairEvaluation';
export {
  adaptedKlCoef,
  minibatchOrder,
  ppoUpdates,
  rolloutAdvantages,
  type AdvantageOptions,
  type PpoUpdate,
  type PpoUpdateOptions,
  type Rollout,
  type RolloutAdvantages,
} from './training/ppoUpdate';
export { type PpoTrainOptions } from './training/ppoOptions';
export { trainPpo, type PpoInputs, type PpoStep } from './training/trainPpo';
export { type GrpoTrainOptions } from './training/grpoOptions';
export { grpoUpdate, type GroupRollout, type GrpoUpdate, type GrpoUpdateOptions } from './training/grpoUpdate';
export { rlooAdvantages, trainGrpo, type GrpoInputs, type GrpoStep } from './training/trainGrpo';
export {
  rewardJudge,
  type ResponsePair,
  type Judge,
  type Judgement,
  type RewardJudgeOptions,
  type Winner,
} from './training/judge';
export { judgeAll, positionBias, type Judged, type JudgingOptions, type PositionBias } from './training/judging';
export { chatJudge, JUDGE_TEMPLATE, type ChatJudgeOptions } from './training/chatJudge';
export { keptJudge } from './training/keptJudge';
export {
  cohenKappa,
  lengthControlledWinRate,
  winRate,
  type Agreement,
  type Estimated,
  type LengthControlled,
  type LengthOutcome,
  type WinRate,
} from './training/winRate';
export { type OnlineDpoTrainOptions } from './training/onlineDpoOptions';
export {
  onlineDpoUpdate,
  trainOnlineDpo,
  type JudgedSamples,
  type OnlineDpoInputs,
  type OnlineDpoStep,
  type OnlineDpoUpdateOptions,
} from './training/trainOnlineDpo';
export { bestOfN, bestOfNKl } from './training/bestOfN';
export { diagnose, type Diagnosis } from './training/diagnosis';
export { type Finding } from './training/diagnosisRule';

export type { Figure, FigureFrame, FigureLayout, Trace } from './notebook/figure';
export { show, type Html } from './notebook/show';
export { item } from './notebook/item';
export { deviceAndModel } from './notebook/deviceAndModel';
export { table, type TableOptions, type TableRow } from './notebook/htmlTable';
export { withSlider, type SliderOptions } from './notebook/slider';
export { exercise, type ExerciseCase } from './notebook/exercise';
export type { Curve, Panels } from './notebook/panels';
export { compare, comparisonTable, type CompareOptions, type Comparison } from './notebook/comparison';
export { bands, curves, reliability, type BandCurve, type BandsOptions, type CurvesOptions } from './notebook/figures';
export { answerTable } from './notebook/answerTable';
export { showData } from './notebook/showData';
export { showDiagnosis } from './notebook/showDiagnosis';
export { tokenTable, type TokenRow, type TokenTableOptions } from './notebook/tokenTable';
export { tokenParts, type TokenPartsRow } from './notebook/tokenParts';
export { watch, type WatchOptions } from './notebook/watch';
